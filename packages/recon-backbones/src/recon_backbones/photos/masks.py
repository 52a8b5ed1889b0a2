"""Masks of the user's own, one a photo, named as COLMAP takes them: 0 is ignored."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageOps

from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.photos.files import straight
from recon_backbones.photos.opening import (
    BROKEN,
    ORIENTATION,
    QUARTER_TURNS,
    open_photo,
    upright_size,
)

ROUNDING = 1e-6  # of a pixel: what floating point may add to a box


def find_masks(folder: str | Path, paths: Sequence[Path], names: Sequence[str]) -> tuple[Path, ...]:
    """The mask of each photo: `NAME.jpg.png`, or `NAME.png`, in the folders that the photos lie in.

    - `names`: of the photos, with the folders below the one that they share. A mask may lie in more
      of the folders that its photo lies in, as of photos/left alone in masks/left.

    Raises InputError where a photo has no mask, or two have the same.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"masks={folder}; it must be a folder: put a mask for every photo into one"
        )
    inside = [path for path in paths if path.resolve().is_relative_to(folder.resolve())]
    if inside:
        raise InputError(
            f"masks={folder}; it must hold no photo, and {inside[0]} was taken for one: keep masks "
            "in a folder that is not among the photos"
        )
    found: dict[Path, Path] = {}
    missing = []
    for path, name in zip(paths, names, strict=True):
        mask = _mask_of(folder, path, len(Path(name).parts))
        if mask is None:
            missing.append(name)
        elif mask in found:
            raise InputError(
                f"masks={folder}; {mask.name} fits {found[mask].name} and {path.name}: name masks "
                "as COLMAP does, the whole name of the photo and .png"
            )
        else:
            found[mask] = path
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" * (len(missing) > 3))
        raise InputError(
            f"masks={folder}; it must hold a mask for every photo, and lacks those of {some}: add "
            f"{missing[0]}.png (black is ignored, white kept), or leave these photos out"
        )
    return tuple(found)


def read_mask(mask: Path, photo: Path) -> Bool[np.ndarray, "Y X"]:
    """Whether each pixel of the upright photo is kept: those that are not black, nor transparent.

    A mask of the photo as it is stored, before its EXIF tag turns it, is turned as well, where
    its shape tells. Raises InputError for a mask that is broken or of another size.
    """
    with open_photo(photo) as image:
        size, turn = upright_size(image), image.getexif().get(ORIENTATION, 1)
    with open_photo(mask) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if turn in QUARTER_TURNS and upright.size == size[::-1] != size:
                upright = _turned(upright, turn)
            kept = _kept(upright)
        except BROKEN as error:
            raise InputError(
                f"{mask}: is broken and cannot be decoded; {error}: write it again"
            ) from error
    if kept.shape != size[::-1]:
        raise InputError(
            f"{mask}: is {kept.shape[1]} x {kept.shape[0]} pixels; it must be {size[0]} x "
            f"{size[1]}, as {photo.name} is: make it at the size of the photo"
        )
    return kept


def seen_through(mask: Bool[np.ndarray, "Y X"], pixels: PixelMap) -> Bool[np.ndarray, "y x"]:
    """Pixels of the processed image that show kept pixels of the photo alone.

    What lies beyond the photo counts as kept. Raises ValueError for a mask of another size.
    """
    if mask.shape != pixels.photo:
        raise ValueError(
            f"mask=array of shape {mask.shape}; it must be {pixels.photo}, as the photo: give "
            "it at that size"
        )
    ignored = cv2.integral((~mask).astype(np.uint8))  # sums of what is above and left
    top, bottom = _bounds(pixels.size[0], pixels.scale_y, pixels.shift_y, pixels.photo[0])
    left, right = _bounds(pixels.size[1], pixels.scale_x, pixels.shift_x, pixels.photo[1])
    above = ignored[np.ix_(top, right)] - ignored[np.ix_(top, left)]
    below = ignored[np.ix_(bottom, right)] - ignored[np.ix_(bottom, left)]
    kept: Bool[np.ndarray, "y x"] = below == above
    return kept


def _bounds(count: int, scale: float, shift: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 of the photo's pixels that each processed pixel touches."""
    edges = (np.arange(count + 1) - shift) / scale
    first = np.floor(edges[:-1] + ROUNDING).astype(int)
    last = np.ceil(edges[1:] - ROUNDING).astype(int)
    return first.clip(0, most), last.clip(0, most)


def _mask_of(folder: Path, path: Path, least: int) -> Path | None:
    """The mask in as many of the photo's own folders as there are."""
    parts = straight(path).parts[1:]
    for start in range(len(parts) - least + 1):
        tail = folder.joinpath(*parts[start:])
        for mask in (tail.with_name(f"{tail.name}.png"), tail.with_suffix(".png")):
            if mask.is_file():
                return mask
    return None


def _turned(image: Image.Image, turn: int) -> Image.Image:
    image.getexif()[ORIENTATION] = turn
    return ImageOps.exif_transpose(image)


def _kept(image: Image.Image) -> Bool[np.ndarray, "y x"]:
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    values = np.asarray(image)
    if values.ndim == 2:
        return values != 0
    if image.mode in ("RGBA", "LA"):
        return (values[..., :-1] != 0).any(axis=-1) & (values[..., -1] != 0)
    return np.asarray((values != 0).any(axis=-1))
