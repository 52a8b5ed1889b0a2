"""Reading photos: paths, Pillow images and arrays to upright 8-bit pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Photo = str | Path | Image.Image | np.ndarray
Pixels = UInt8[np.ndarray, "_ _ _"]  # height, width, channels (3, or 4 with transparency)


def read_photos(photos: Sequence[Photo]) -> list[Pixels]:
    """Return each photo as `y x 3` or, with transparency, `y x 4` pixels, upright by its EXIF tag.

    Raises ValueError if there are none, or naming the first that cannot be read.
    """
    if isinstance(photos, (str, Path, Image.Image, np.ndarray)):
        raise ValueError("photos is a single photo; give a list, [photo]")
    if not photos:
        raise ValueError("photos is empty; give at least one path, Pillow image or array")
    return [_read(photo, index) for index, photo in enumerate(photos)]


def _read(photo: Photo, index: int) -> Pixels:
    if isinstance(photo, np.ndarray):
        return _from_array(photo, index)
    if isinstance(photo, Image.Image):
        return _from_pillow(photo)
    path = Path(photo)
    if not path.is_file():
        raise ValueError(f"photo {path} does not exist or is no file; check the path")
    try:
        with Image.open(path) as image:
            return _from_pillow(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"photo {path} is no whole image ({error}); repair it or leave it out"
        ) from error


def _from_pillow(image: Image.Image) -> Pixels:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        grey = (np.asarray(upright).astype(np.uint16) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    transparent = "A" in upright.getbands() or "transparency" in upright.info
    return np.asarray(upright.convert("RGBA" if transparent else "RGB"))


def _from_array(array: np.ndarray, index: int) -> Pixels:
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise ValueError(
            f"photo {index} is an array of {array.dtype} {array.shape}; "
            "give uint8 of (height, width, 3)"
        )
    return array
