"""One frame of a scene on disk, and how frames become a `Scene`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from .cam_txt import TwoNumbers, read_camera
from .images import read_image
from .pfm import read_pfm
from .scene import Scene


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The files of one view; `depth` is a PFM of the image's size."""

    name: str
    image: Path
    camera: Path
    depth: Path | None = None


def load_frames(
    name: str,
    frames: Sequence[Frame],
    *,
    scale: float = 1.0,
    two_numbers: TwoNumbers = "auto",
) -> Scene:
    """Read frames into a scene; depths and camera positions are multiplied by `scale`.

    A pixel is valid where its depth is finite and above 0; elsewhere depth is 0. Raises ValueError
    where the frames differ in size.
    """
    images = [read_image(frame.image) for frame in frames]
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"{name}: images have the sizes {sorted(sizes)}, and one scene has one size"
        )
    cameras = [read_camera(frame.camera, two_numbers=two_numbers) for frame in frames]
    world_to_camera = torch.from_numpy(np.stack([c.world_to_camera for c in cameras]))
    world_to_camera[:, :, 3] *= scale
    depth = _read_depths(name, frames, images[0].shape[1:]) if frames[0].depth else None
    return Scene(
        name=name,
        images=torch.stack(images),
        depth=None if depth is None else torch.from_numpy(depth) * scale,
        valid=None if depth is None else torch.from_numpy(depth > 0),
        world_to_camera=world_to_camera.float(),
        intrinsics=torch.from_numpy(np.stack([c.intrinsics_from_corner for c in cameras])).float(),
    )


def read_depth(path: Path) -> Float[np.ndarray, "y x"]:
    """Return a PFM of one channel with 0 wherever there is no finite depth above 0."""
    depth = read_pfm(path)
    if depth.ndim != 2:
        raise ValueError(f"{path}: has three channels, and a depth map has one")
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _read_depths(
    name: str, frames: Sequence[Frame], size: Sequence[int]
) -> Float[np.ndarray, "v y x"]:
    maps = []
    for frame in frames:
        if frame.depth is None:
            raise ValueError(f"{name}: frame {frame.name} has no depth map, and others have one")
        depth = read_depth(frame.depth)
        if depth.shape != tuple(size):
            raise ValueError(f"{frame.depth}: is {depth.shape}, and its image {tuple(size)}")
        maps.append(depth)
    return np.stack(maps)
