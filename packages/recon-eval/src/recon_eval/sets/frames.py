"""One frame of a scene on disk, and how frames become a `Scene`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from recon_eval.depth import resize
from recon_eval.formats.cam_txt import read_cam_txt
from recon_eval.formats.depth import read_depth
from recon_eval.formats.images import read_image, read_mask
from recon_eval.formats.records import Camera
from recon_eval.sets.resample import resample
from recon_eval.sets.scene import Scene

DEPTH_KINDS = (".pfm", ".npy")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The files of one view.

    `depth` is a PFM or NumPy map of the image's size or smaller by a whole factor; or, with a
    `depth_corner`, one twice as fine whose halved pixel (row, column) is the image's first. `mask`
    is an image whose pixels above `mask_above` (of 255) are valid. `camera_size` is the (height,
    width) of the image that the camera speaks of, where that is not the image itself.
    """

    name: str
    image: Path
    camera: Path | Camera
    depth: Path | None = None
    depth_corner: tuple[int, int] | None = None
    mask: Path | None = None
    mask_above: int = 127
    camera_size: tuple[int, int] | None = None


def load_frames(
    name: str,
    frames: Sequence[Frame],
    *,
    size: tuple[int, int] | None = None,
    scale: float = 1.0,
) -> Scene:
    """Read frames into a scene of the (height, width) `size`, or of their own.

    Depths and camera positions are multiplied by `scale`. A pixel is valid where its depth is
    finite and above 0 and its mask, if there is one, bright; elsewhere depth is 0. Raises
    ValueError where frames differ in size and none is asked for, only some have a depth map or a
    mask, or an image is turned and its camera is not.
    """
    if not frames:
        raise ValueError(f"{name}: has no frames; it must have some: leave the scene out")
    _all_or_none(name, frames)
    views = []
    for frame in frames:
        view = _load_frame(name, frame, scale)
        views.append(view if size is None else resample(view, height=size[0], width=size[1]))
    return _join(name, views)


def _load_frame(name: str, frame: Frame, scale: float) -> Scene:
    image = read_image(frame.image)
    size = (image.shape[1], image.shape[2])
    camera = _camera(frame, size)
    depth = None if frame.depth is None else _sized_depth(frame.depth, size, frame.depth_corner)
    valid = None if depth is None else depth > 0
    if frame.mask is not None:
        mask = _sized_mask(frame, size)
        valid = mask if valid is None else valid & mask
    if depth is not None and valid is not None:
        depth = scale * depth.where(valid, 0)
    world_to_camera = torch.from_numpy(camera.world_to_camera.copy())
    world_to_camera[:, 3] *= scale
    return Scene(
        name=name,
        images=image[None],
        depth=None if depth is None else depth[None],
        valid=None if valid is None else valid[None],
        world_to_camera=world_to_camera[None].float(),
        intrinsics=torch.from_numpy(camera.intrinsics)[None].float(),
    )


def _join(name: str, views: Sequence[Scene]) -> Scene:
    sizes = sorted({(view.images.shape[2], view.images.shape[3]) for view in views})
    if len(sizes) > 1:
        raise ValueError(
            f"{name}: images have the sizes {sizes}; a scene has one: give the size to "
            "bring them to"
        )

    def joined(part: str) -> Tensor | None:
        values = [getattr(view, part) for view in views]
        return None if values[0] is None else torch.cat(values)

    return Scene(
        name=name,
        images=torch.cat([view.images for view in views]),
        depth=joined("depth"),
        valid=joined("valid"),
        world_to_camera=joined("world_to_camera"),
        intrinsics=joined("intrinsics"),
    )


def _all_or_none(name: str, frames: Sequence[Frame]) -> None:
    for part in ("depth", "mask"):
        lacking = [frame.name for frame in frames if getattr(frame, part) is None]
        if 0 < len(lacking) < len(frames):
            raise ValueError(
                f"{name}: frames {lacking[:3]} have no {part}; others have one: leave these "
                "frames out"
            )


def _camera(frame: Frame, size: tuple[int, int]) -> Camera:
    camera = frame.camera
    if isinstance(camera, Path):
        camera = read_cam_txt(camera, two_numbers="min_max").camera  # a scene has no depth range
    if frame.camera_size is None:
        return camera
    height, width = frame.camera_size
    if (height - width) * (size[0] - size[1]) < 0:  # one is upright, the other lies
        raise ValueError(
            f"{frame.image}: is {size[1]} x {size[0]}, and its camera speaks of {width} x {height};"
            " both must be turned alike: remove the EXIF orientation of the image"
        )
    change = np.diag([size[1] / width, size[0] / height, 1.0])
    return replace(camera, intrinsics=change @ camera.intrinsics, size=None)


def _sized_mask(frame: Frame, size: tuple[int, int]) -> Bool[Tensor, "y x"]:
    """A mask at the image's size, by the nearest pixel, cropped as the depth is."""
    assert frame.mask is not None
    bright = read_mask(frame.mask, threshold=frame.mask_above).astype(bool)
    mask = torch.from_numpy(bright)
    if frame.depth_corner is not None:
        return _halved(mask, size, frame.depth_corner, frame.mask)
    return resize(mask[None], height=size[0], width=size[1])[0]


def _halved(
    values: Shaped[Tensor, "y x"], size: tuple[int, int], corner: tuple[int, int], path: Path
) -> Shaped[Tensor, "h w"]:
    """Every second pixel from the first on, cropped to the image."""
    (row, column), half = corner, values[::2, ::2]
    window = half[row : row + size[0], column : column + size[1]]
    if tuple(window.shape) != size:
        raise ValueError(
            f"{path}: is {tuple(values.shape)}; halved and cut from {corner} on, it must "
            f"hold its image of {size}: copy it again"
        )
    return window


def _sized_depth(
    path: Path, size: tuple[int, int], corner: tuple[int, int] | None
) -> Float[Tensor, "y x"]:
    """A depth map at the image's size: enlarged by repeating pixels, or halved and cropped."""
    depth = torch.from_numpy(read_depth(path))
    if corner is not None:
        return _halved(depth, size, corner, path)
    factors = {new / old for new, old in zip(size, depth.shape, strict=True)}
    if len(factors) > 1 or not (factor := factors.pop()).is_integer() or factor < 1:
        raise ValueError(
            f"{path}: is {tuple(depth.shape)} and its image {size}; a depth map has the "
            "size of its image, or is smaller by one whole factor: copy it again"
        )
    return resize(depth[None], height=size[0], width=size[1])[0]
