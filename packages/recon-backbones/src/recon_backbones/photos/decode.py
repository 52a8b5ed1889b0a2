"""The one decoder: a file, a Pillow image or an array to upright pixels, whole or reduced.

Reduced decoding reads a photo at about the size that is needed, so that memory never holds many
whole ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import repeat
from jaxtyping import UInt8
from PIL import Image, ImageOps

from recon_backbones.errors import InputError
from recon_backbones.geometry.pixels import Pixels
from recon_backbones.photos.opening import (
    BROKEN,
    ORIENTATION,
    QUARTER_TURNS,
    open_photo,
    upright_size,
)

SMALLEST = 14  # pixels a side: one patch of the networks
Photo = str | Path | Image.Image | np.ndarray
REVERSED = (
    (2, 3, 7, 8),
    (3, 4, 6, 7),
)  # EXIF turns that run over the stored width, height backward
FLOATING = ("I", "F")  # Pillow's 32-bit modes; their range is anybody's guess


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """A photo, upright, RGB, and smaller by a whole factor.

    - `size`: width and height of the upright photo at its own resolution.
    - `factor`: a point (x, y) of `image` lies at (x, y) * factor in the photo, where 0 is the
      outer edge of the first pixel.
    """

    image: UInt8[np.ndarray, "y x 3"]
    size: tuple[int, int]
    factor: int


def decode_photo(path: str | Path, *, at_least: int) -> Reduced:
    """Read a photo; a large one with its longer side at least `at_least`, and below twice that.

    A JPEG is decoded at an eighth, a quarter or a half where that suffices, for a fraction
    of the time and memory. Sixteen bits become eight, transparency shows white.
    Raises InputError naming a file that is broken, an animation, of 32-bit pixels, smaller
    than 14 pixels a side, or above 170 million pixels.
    """
    path = Path(path)
    with open_photo(path) as image:
        _check(path, image)
        try:
            size = upright_size(image)
            drafted = _draft(image, at_least)
            pixels = _on_white(upright(image))
            size = pixels.size if drafted == 1 else size
        except BROKEN as error:
            raise InputError(
                f"{path}: is broken and cannot be decoded; {error}: repair it or leave it out"
            ) from error
    factor = max(1, max(pixels.size) // at_least)
    if factor > 1:
        pixels = pixels.reduce(factor)
    return Reduced(image=np.asarray(pixels), size=size, factor=factor * drafted)


def _draft(image: Image.Image, at_least: int) -> int:
    """Have a JPEG decoded at an eighth, a quarter or a half where that suffices; the factor.

    A row or column that shows less than the others is the last as the photo is stored. A side
    that its EXIF tag reverses would begin with it, so it is divided evenly or not at all.
    """
    turn = image.getexif().get(ORIENTATION, 1)
    reversed_sides = [
        side for side, turns in zip(image.size, REVERSED, strict=True) if turn in turns
    ]
    for factor in (8, 4, 2):
        if max(image.size) // at_least >= factor and not any(n % factor for n in reversed_sides):
            bound = (image.width // factor, image.height // factor)
            return factor if image.draft(None, bound) else 1
    return 1


def _check(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < SMALLEST:
        raise InputError(
            f"{path}: is {width} x {height} pixels; a photo needs {SMALLEST} on each side: "
            "leave it out"
        )
    frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP", "AVIF") else 1
    if frames > 1:
        raise InputError(
            f"{path}: is an animation of {frames} frames; a photo has one: give a video "
            "instead, or single images"
        )
    _check_range(path, image)


def _check_range(name: Path | str, image: Image.Image) -> None:
    if image.mode in FLOATING:
        raise InputError(
            f"{name}: holds 32-bit pixels (mode {image.mode}); their range is unknown: "
            "save it with 8 or 16 bits"
        )


def read_photos(photos: Sequence[Photo]) -> list[Pixels]:
    """Return each photo whole, as `y x 3` or, with transparency, `y x 4` pixels, upright.

    Raises InputError if there are none, or naming the first that cannot be read.
    """
    if isinstance(photos, (str, Path, Image.Image, np.ndarray)):
        raise InputError("photos is a single photo; it must be a list: give [photo]")
    if not photos:
        raise InputError(
            "photos is empty; there must be one at least: give a path, Pillow image or array"
        )
    return [_whole(photo, index) for index, photo in enumerate(photos)]


def _whole(photo: Photo, index: int) -> Pixels:
    if isinstance(photo, np.ndarray):
        return _from_array(photo, index)
    if isinstance(photo, Image.Image):
        _check_range(f"photo {index}", photo)
        return np.asarray(upright(photo))
    path = Path(photo)
    with open_photo(path) as image:
        _check_range(path, image)
        try:
            return np.asarray(upright(image))
        except BROKEN as error:
            raise InputError(
                f"{path}: is broken and cannot be decoded; {error}: repair it or leave it out"
            ) from error


def _from_array(array: np.ndarray, index: int) -> Pixels:
    if array.ndim == 2:
        array = repeat(array, "y x -> y x rgb", rgb=3)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise InputError(
            f"photo {index} is an array of {array.dtype} {array.shape}; it must be "
            "(height, width, 3) bytes: give uint8"
        )
    return array


def upright(image: Image.Image) -> Image.Image:
    """A photo as its EXIF tag turns it, RGB, or RGBA where it is transparent.

    Sixteen bits become eight by their upper half.
    """
    if getattr(image, "tag_v2", {}).get(ORIENTATION) in QUARTER_TURNS:
        image.filename = ""  # type: ignore[attr-defined]  # else Pillow maps it, its sides swapped
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8)).convert("RGB")
    transparent = "A" in turned.getbands() or "transparency" in turned.info
    return turned.convert("RGBA" if transparent else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")
