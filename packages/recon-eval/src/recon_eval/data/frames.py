"""One frame of a scene on disk, and how frames become a `Scene`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ..depth import resize
from .cam_txt import CameraFile, TwoNumbers, read_camera
from .files import read_bounded
from .images import read_image, read_mask
from .pfm import MAX_BYTES, read_pfm
from .scene import Scene

DEPTH_KINDS = (".pfm", ".npy")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The files of one view.

    `depth` is a PFM or NumPy map of the image's size or smaller by a whole factor; `mask` an image
    whose bright pixels are valid. `camera_size` is the (height, width) of the image that the camera
    file speaks of, where that is not the image itself.
    """

    name: str
    image: Path
    camera: Path | CameraFile
    depth: Path | None = None
    mask: Path | None = None
    camera_size: tuple[int, int] | None = None


def load_frames(
    name: str, frames: Sequence[Frame], *, scale: float = 1.0, two_numbers: TwoNumbers = "auto"
) -> Scene:
    """Read frames into a scene; depths and camera positions are multiplied by `scale`.

    A pixel is valid where its depth is finite and above 0 and its mask, if there is one, bright;
    elsewhere depth is 0. Raises ValueError where the frames differ in size.
    """
    if not frames:
        raise ValueError(f"{name}: has no frames")
    images = [read_image(frame.image) for frame in frames]
    size = _one_size(name, images)
    cameras = [_camera(frame, two_numbers) for frame in frames]
    world_to_camera = torch.from_numpy(np.stack([c.world_to_camera for c in cameras]))
    world_to_camera[:, :, 3] *= scale
    intrinsics = [_intrinsics(c, f, size) for c, f in zip(cameras, frames, strict=True)]
    depth, valid = _depth_and_valid(name, frames, size)
    return Scene(
        name=name,
        images=torch.stack(images),
        depth=None if depth is None else depth * scale,
        valid=valid,
        world_to_camera=world_to_camera.float(),
        intrinsics=torch.from_numpy(np.stack(intrinsics)).float(),
    )


def read_depth(path: Path) -> Float[np.ndarray, "y x"]:
    """Return a depth map with 0 wherever there is no finite depth above 0."""
    depth = _read_npy(path) if path.suffix == ".npy" else read_pfm(path)
    if depth.ndim != 2:
        raise ValueError(
            f"{path}: has the shape {depth.shape}, and a depth map has rows and columns"
        )
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _read_npy(path: Path) -> np.ndarray:
    read_bounded(path, MAX_BYTES)
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: is no NumPy array: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: holds no array of numbers")
    return values.astype(np.float32)


def _one_size(name: str, images: Sequence[Tensor]) -> tuple[int, int]:
    sizes = {(image.shape[1], image.shape[2]) for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"{name}: images have the sizes {sorted(sizes)}, and one scene has one size"
        )
    return sizes.pop()


def _camera(frame: Frame, two_numbers: TwoNumbers) -> CameraFile:
    if isinstance(frame.camera, CameraFile):
        return frame.camera
    return read_camera(frame.camera, two_numbers=two_numbers)


def _intrinsics(
    camera: CameraFile, frame: Frame, size: tuple[int, int]
) -> Float64[np.ndarray, "3 3"]:
    intrinsics = camera.intrinsics_from_corner
    if frame.camera_size is not None:
        height, width = frame.camera_size
        intrinsics = np.diag([size[1] / width, size[0] / height, 1.0]) @ intrinsics
    return intrinsics


def _depth_and_valid(
    name: str, frames: Sequence[Frame], size: tuple[int, int]
) -> tuple[Float[Tensor, "v y x"] | None, Bool[Tensor, "v y x"] | None]:
    have = [frame.depth is not None for frame in frames]
    if any(have) and not all(have):
        raise ValueError(f"{name}: frame {frames[have.index(False)].name} alone has no depth map")
    masks = _masks(frames, size)
    if not all(have):
        return None, masks
    depth = torch.stack([_sized_depth(frame.depth, size) for frame in frames if frame.depth])
    valid = (depth > 0) if masks is None else (depth > 0) & masks
    return depth.where(valid, 0), valid


def _masks(frames: Sequence[Frame], size: tuple[int, int]) -> Bool[Tensor, "v y x"] | None:
    if any(frame.mask is None for frame in frames):
        return None
    found = []
    for frame in frames:
        assert frame.mask is not None
        mask = torch.from_numpy(read_mask(frame.mask).astype(bool))[None]
        found.append(resize(mask, height=size[0], width=size[1])[0])
    return torch.stack(found)


def _sized_depth(path: Path, size: tuple[int, int]) -> Float[Tensor, "y x"]:
    """A depth map enlarged to the image's size by repeating pixels."""
    depth = torch.from_numpy(read_depth(path))
    factors = {new / old for new, old in zip(size, depth.shape, strict=True)}
    if len(factors) > 1 or not (factor := factors.pop()).is_integer() or factor < 1:
        raise ValueError(
            f"{path}: is {tuple(depth.shape)}, and its image {size}: a depth map has the size of "
            "its image, or is smaller by one whole factor"
        )
    return resize(depth[None], height=size[0], width=size[1])[0]
