"""Reading photographs: only common formats, bounded in size, turned as their EXIF tag says."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF")  # the last two where Pillow can
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
ORIENTATION = 0x0112  # the EXIF tag
QUARTER_TURNS = (5, 6, 7, 8)  # its values that swap the sides
MAX_PIXELS = 170_000_000

# what Pillow raises on damaged files
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def open_image(path: str | Path) -> Image.Image:
    """Return an RGB image, upright. Raises ValueError where it is no image, broken or too large."""
    path = Path(path)
    with opened(path) as image:
        return decoded(image, path)


def decoded(image: Image.Image, path: Path) -> Image.Image:
    """Return an opened image in RGB, upright; its errors are those of `open_image`."""
    if image.mode in ("I", "F"):  # Pillow would clip at 255: all white, or all black
        raise ValueError(
            f"{path}: mode={image.mode}, 32 bits a pixel, of which none says what is white; a "
            "photograph has 8 or 16: save it so"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # sixteen bits a pixel: Pillow would clip at 255
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return upright.convert("RGB")
    except BROKEN as error:
        raise ValueError(
            f"{path}: is broken and cannot be decoded; {error}: copy it again"
        ) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Return height and width of the upright image from its header, without decoding it."""
    path = Path(path)
    with opened(path) as image:
        try:
            turned = image.getexif().get(ORIENTATION, 1) in QUARTER_TURNS
            # Pillow has turned the size of a TIFF as it opened it
            turned ^= getattr(image, "tag_v2", {}).get(ORIENTATION, 1) in QUARTER_TURNS
        except BROKEN as error:
            raise ValueError(f"{path}: has a broken EXIF block; {error}: remove it") from error
        width, height = image.size
        return (width, height) if turned else (height, width)


def read_image(path: str | Path) -> Float[Tensor, "3 y x"]:
    """Return an image as RGB in [0, 1]."""
    return to_tensor(np.asarray(open_image(path)))


def to_tensor(image: UInt8[np.ndarray, "y x 3"]) -> Float[Tensor, "3 y x"]:
    """Return an 8-bit RGB array as a float tensor in [0, 1]."""
    return rearrange(torch.from_numpy(image.copy()), "y x c -> c y x").float() / 255


def read_mask(path: str | Path, *, threshold: int = 127) -> UInt8[np.ndarray, "y x"]:
    """Return 1 where a gray image is above `threshold` of 255, else 0."""
    gray = np.asarray(open_image(path).convert("L"))
    return (gray > threshold).astype(np.uint8)


def _readable() -> list[str]:
    """Formats that Pillow opens here, plugins that were registered included."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def opened(path: Path) -> Image.Image:
    """Return an image of which the header was read; its errors are those of `open_image`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist or is no file")
    try:
        with warnings.catch_warnings():  # Pillow warns from half of our own bound
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_readable())
    except Image.DecompressionBombError:
        raise ValueError(
            f"{path}: has too many pixels; no more than {MAX_PIXELS:,} are read: make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path}: its content is no {', '.join(_readable())} image; its name says nothing: "
            "remove the file or replace it"
        ) from None
    except BROKEN as error:
        raise ValueError(f"{path}: cannot be read as an image; {error}: copy it again") from error
    width, height = image.size
    if width * height > MAX_PIXELS or width < 1 or height < 1:
        image.close()
        raise ValueError(
            f"{path}: is {width} x {height}; an image has at least one pixel and no more "
            f"than {MAX_PIXELS:,} pixels: make it smaller"
        )
    if getattr(image, "tag_v2", {}).get(ORIENTATION, 1) in QUARTER_TURNS:
        image.filename = ""  # with a name Pillow maps the pixels, by the sides of the turned image
    return image
