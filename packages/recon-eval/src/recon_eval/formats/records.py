"""What readers return and writers take: cameras, clouds, and which camera sees which point."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8

ORTHOGONALITY = 1e-3  # largest entry of R R^T - I
SKEW = 1e-3  # of the focal length: a pixel across a thousand, which most formats cannot hold


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One pinhole camera: OpenCV axes (x right, y down, z forward), pixel centers at + 0.5.

    - `name`: of its photo, as the file has it.
    - `world_to_camera`: a rotation and a translation; a fourth row of 0 0 0 1 is dropped.
    - `size`: width and height of the image that `intrinsics` speak of; None when a file is silent.

    Raises ValueError where a matrix has another shape, is not finite, is no rotation, or has no
    focal lengths.
    """

    name: str
    world_to_camera: Float64[np.ndarray, "_ 4"]
    intrinsics: Float64[np.ndarray, "3 3"]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_camera(self.world_to_camera, self.intrinsics, self.name)
        object.__setattr__(self, "world_to_camera", self.world_to_camera[:3])
        if self.size is not None and min(self.size) < 1:
            raise ValueError(
                f"{self.name}: size={self.size}; both sides must be at least 1: give width and "
                "height of the photo"
            )

    @property
    def camera_to_world(self) -> Float64[np.ndarray, "4 4"]:
        """The inverse of `world_to_camera`, homogeneous."""
        return camera_to_world(self.world_to_camera)

    def project(
        self, points: Float[np.ndarray, "p 3"]
    ) -> tuple[Float64[np.ndarray, "p 2"], Float64[np.ndarray, " p"]]:
        """Return where world points land, in pixels, and their depth (not above 0: behind)."""
        check_shape(points, "points", (None, 3))
        local = points @ self.world_to_camera[:, :3].T + self.world_to_camera[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            landed = (local @ self.intrinsics.T)[:, :2] / local[:, 2:]
        return landed, local[:, 2]


@dataclass(frozen=True, kw_only=True)
class PointCloud:
    """Points, and what a file says of each; a part is None where the file has none.

    - `points`: in the world frame, OpenCV axes.
    - `colors`: sRGB bytes, as a screen shows them.
    - `confidence`: of the depth that a point was made from, in no unit.

    Raises ValueError where the parts differ in length, or colors are no bytes.
    """

    points: Float[np.ndarray, "p 3"]
    normals: Float[np.ndarray, "p 3"] | None = None
    colors: UInt8[np.ndarray, "p 3"] | None = None
    confidence: Float[np.ndarray, " p"] | None = None

    def __post_init__(self) -> None:
        check_shape(self.points, "points", (None, 3))
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None:
                check_shape(value, part.name, (None,) if part.name == "confidence" else (None, 3))
            if value is not None and len(value) != len(self.points):
                raise ValueError(
                    f"{part.name}: has {len(value)} rows; points has {len(self.points)}, "
                    "and every part has one row a point: give as many"
                )
        if self.colors is not None and self.colors.dtype != np.uint8:  # in [0, 1] all were black
            raise ValueError(
                f"colors=array of {self.colors.dtype}; it must be of uint8, as a screen shows "
                "them: give (255 * colors).round().astype(np.uint8)"
            )

    def __len__(self) -> int:
        return len(self.points)

    def take(self, index: Int[np.ndarray, " q"] | Bool[np.ndarray, " p"] | slice) -> "PointCloud":
        """Return the points at these positions, in this order."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return replace(self, **{k: v[index] for k, v in parts.items() if v is not None})

    @staticmethod
    def concatenate(clouds: "Sequence[PointCloud]") -> "PointCloud":
        """Return all points of several clouds; a part that one of them lacks is dropped."""
        parts = {part.name: [getattr(c, part.name) for c in clouds] for part in fields(PointCloud)}
        whole = {k: v for k, v in parts.items() if all(part is not None for part in v)}
        return PointCloud(**{name: np.concatenate(values) for name, values in whole.items()})


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Which camera sees which point: `point[i]` is seen by `camera[i]` at the pixel `xy[i]`.

    Both are positions in the lists of cameras and points, counted from 0; `xy` has pixel centers at
    + 0.5.
    """

    camera: Int[np.ndarray, " o"]
    point: Int[np.ndarray, " o"]
    xy: Float[np.ndarray, "o 2"]

    def __post_init__(self) -> None:
        check_shape(self.camera, "observations.camera", (None,))
        check_shape(self.point, "observations.point", (None,))
        check_shape(self.xy, "observations.xy", (None, 2))
        if not len(self.camera) == len(self.point) == len(self.xy):
            raise ValueError(
                f"observations: {len(self.camera)} cameras, {len(self.point)} points and "
                f"{len(self.xy)} pixels; each observation has one of each: give as many"
            )

    def __len__(self) -> int:
        return len(self.point)

    @staticmethod
    def none() -> "Observations":
        """No point is seen by any camera."""
        empty = np.zeros(0, np.int64)
        return Observations(camera=empty, point=empty, xy=np.zeros((0, 2)))

    def behind(self, points: int) -> "Observations":
        """The same, where so many points were put before those that are seen."""
        return replace(self, point=self.point.astype(np.int64) + points)

    @staticmethod
    def concatenate(parts: "Sequence[Observations]") -> "Observations":
        """All of several, in one numbering of cameras and points."""
        names = [part.name for part in fields(Observations)]
        return Observations(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def camera_to_world(world_to_camera: Float[np.ndarray, "3 4"]) -> Float64[np.ndarray, "4 4"]:
    """Return the inverse of a rigid motion, homogeneous.

    The center is solved for: far from the origin, a rotation that is one to seven digits would move
    it by much.
    """
    motion = world_to_camera.astype(np.float64)
    pose = np.eye(4)
    pose[:3, :3] = motion[:, :3].T
    pose[:3, 3] = -np.linalg.solve(motion[:, :3], motion[:, 3])
    return pose


def check_shape(value: object, name: str, shape: tuple[int | None, ...]) -> None:
    """Raise TypeError for what is no array, ValueError where it has not these axes (None: any)."""
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name}={type(value).__name__}; it must be a NumPy array: give np.asarray({name})"
        )
    fits = len(value.shape) == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, value.shape, strict=True)
    )
    if not fits:
        rule = " x ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name}=array of shape {value.shape}; it must be {rule}: reshape it")


def check_camera(
    extrinsic: Float64[np.ndarray, "_ 4"], intrinsics: Float64[np.ndarray, "3 3"], where: str
) -> None:
    """Raise ValueError where a matrix (3 x 4 or 4 x 4) is no rigid motion or no pinhole camera."""
    rows = 4 if np.shape(extrinsic)[:1] == (4,) else 3
    check_shape(extrinsic, f"{where}: world_to_camera", (rows, 4))
    check_shape(intrinsics, f"{where}: intrinsics", (3, 3))
    if not (np.isfinite(extrinsic).all() and np.isfinite(intrinsics).all()):
        raise ValueError(
            f"{where}: a camera holds NaN or infinity; it must be finite: leave it out"
        )
    rotation = extrinsic[:3, :3]
    gap, turn = float(np.abs(rotation @ rotation.T - np.eye(3)).max()), np.linalg.det(rotation)
    if gap > ORTHOGONALITY or turn <= 0:
        raise ValueError(
            f"{where}: the extrinsic is not a rotation, or mirrors; |R R^T - I| is "
            f"{gap:.2g} (at most {ORTHOGONALITY}) and det R {turn:.3g} (must be 1): give "
            "rigid world-to-camera matrices"
        )
    if not np.allclose(extrinsic[3:], [0, 0, 0, 1], atol=1e-6):
        raise ValueError(
            f"{where}: the last row of the extrinsic is {extrinsic[3]}; it must be 0 0 0 1: "
            "give world-to-camera matrices, not transposed"
        )
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        raise ValueError(
            f"{where}: the focal lengths are {np.diag(intrinsics)[:2]}; both must be above "
            "0: give pixels"
        )
    if not np.allclose(intrinsics[2], [0, 0, 1], atol=1e-6):
        raise ValueError(
            f"{where}: the last row of the intrinsic is {intrinsics[2]}; it must be 0 0 1: "
            "give a pinhole camera, not transposed"
        )


def check_straight(camera: Camera, what: str) -> None:
    """Raise ValueError where a camera has a skew, for which there is no place in `what`."""
    skew = float(np.abs(camera.intrinsics[[0, 1], [1, 0]]).max())
    if skew > SKEW * camera.intrinsics[1, 1]:
        raise ValueError(
            f"{camera.name}: skew={skew:.4g}; {what} has no place for it, so it must be at most "
            f"{SKEW:g} of the focal length: resample the photo without it"
        )


def by_number(numbers: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " n"]:
    """The places of whole numbers from 0 to below `most`, ascending, equal ones as they stand."""
    short = numbers.astype(np.uint16) if most <= 1 << 16 else numbers  # sorted digit by digit
    return np.argsort(short, kind="stable")
