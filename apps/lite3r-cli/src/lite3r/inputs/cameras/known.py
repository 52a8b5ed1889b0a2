"""Cameras that are known beforehand, and which photo each belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64

SHAPE_TOLERANCE = 0.01  # by which the shapes of a photo and of its camera's image may differ


@dataclass(frozen=True, kw_only=True)
class KnownCamera:
    """One camera, OpenCV (x right, y down, z forward), pixel centres at + 0.5.

    name: of its photo, as the file has it.
    size: width and height of the image that `intrinsics` speak of; None when the file is silent.
    """

    name: str
    world_to_camera: Float64[np.ndarray, "3 4"]
    intrinsics: Float64[np.ndarray, "3 3"]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        rotation = self.world_to_camera[:, :3]
        if not (np.isfinite(self.world_to_camera).all() and np.isfinite(self.intrinsics).all()):
            raise ValueError(f"the camera of {self.name} holds NaN or infinity")
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            raise ValueError(f"the camera of {self.name} has no rotation, or one that mirrors")
        if self.intrinsics[0, 0] <= 0 or self.intrinsics[1, 1] <= 0:
            raise ValueError(f"the camera of {self.name} has a focal length that is not positive")

    def of_size(self, size: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
        """The intrinsics in pixels of a photo of this width and height.

        Raises ValueError when the photo has another shape than the camera's image.
        """
        if self.size is None or self.size == size:
            return self.intrinsics
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        if abs(across / down - 1) > SHAPE_TOLERANCE:
            turned = size == self.size[::-1]
            why = "is turned by its EXIF tag" if turned else "was cropped, or is another image"
            raise ValueError(
                f"the camera of {self.name} is for {self.size[0]} x {self.size[1]} pixels, and the "
                f"photo has {size[0]} x {size[1]}: it {why}; give the photos that the cameras "
                "were made for"
            )
        return np.diag([across, down, 1.0]) @ self.intrinsics


@dataclass(frozen=True, kw_only=True)
class KnownCameras:
    """All cameras of one file or folder."""

    source: Path
    cameras: tuple[KnownCamera, ...]

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError(f"{self.source} holds no camera")


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The photos that have a camera, in their order, and those that have none."""

    paths: tuple[Path, ...]
    cameras: tuple[KnownCamera, ...]
    without: tuple[Path, ...]


def match_cameras(known: KnownCameras, paths: Sequence[Path], *, at_least: int = 2) -> Matched:
    """Find the camera of each photo by its name.

    Names are compared from the end: the file name, and the folders before it where several
    cameras share one; without its ending where no file name is equal, as the frames of
    a video have other endings. Raises ValueError when fewer than `at_least` photos have a
    camera, naming some of both, or when a name fits several cameras.
    """
    found = [(path, _camera_of(path, known)) for path in paths]
    matched = [(path, camera) for path, camera in found if camera is not None]
    without = tuple(path for path, camera in found if camera is None)
    if len(matched) < at_least:
        raise ValueError(
            f"{known.source} has cameras for other images: it knows "
            f"{_some([camera.name for camera in known.cameras])}, and the photos are "
            f"{_some([path.name for path in paths])}; {len(matched)} fit by name and {at_least} "
            "are needed: give the cameras of these photos, or leave --cameras out"
        )
    taken = [camera.name for _, camera in matched]
    twice = {name for name in taken if taken.count(name) > 1}
    if twice:
        raise ValueError(
            f"{known.source}: the camera {sorted(twice)[0]} fits several photos; name them as the "
            "cameras do, folders included"
        )
    return Matched(
        paths=tuple(path for path, _ in matched),
        cameras=tuple(camera for _, camera in matched),
        without=without,
    )


def _camera_of(path: Path, known: KnownCameras) -> KnownCamera | None:
    parts = path.absolute().parts
    for plain in (False, True):
        fits = [
            (depth, camera)
            for camera in known.cameras
            if (depth := _common_tail(parts, camera.name, plain=plain))
        ]
        if fits:
            best = max(depth for depth, _ in fits)
            cameras = [camera for depth, camera in fits if depth == best]
            if len(cameras) > 1:
                names = [camera.name for camera in cameras]
                raise ValueError(
                    f"{known.source}: {path} fits several cameras ({_some(names)}); keep the "
                    "folders of the photos as they were"
                )
            return cameras[0]
    return None


def _common_tail(parts: tuple[str, ...], name: str, *, plain: bool) -> int:
    """How many trailing parts of a path two names share; `plain` drops the file's ending."""
    own = PurePosixPath(name.replace("\\", "/")).parts
    pairs = list(zip(reversed(parts), reversed(own), strict=False))
    if plain and pairs:
        pairs[0] = (PurePosixPath(pairs[0][0]).stem, PurePosixPath(pairs[0][1]).stem)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
