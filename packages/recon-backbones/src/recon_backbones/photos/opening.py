"""Opening a photo file: common formats alone, bounded in size, with errors that name the file."""

import os
import struct
import warnings
import zlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

from recon_backbones.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"}
)
BRANDS = {"AVIF": (b"avif", b"avis"), "HEIF": (b"heic", b"heix", b"hevc", b"hevx", b"mif1")}
MAX_PIXELS = 170_000_000
ORIENTATION = 0x0112  # the EXIF tag
QUARTER_TURNS = (5, 6, 7, 8)  # its values that swap width and height

# Whatever a decoder may raise on damaged bytes.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def open_photo(path: Path) -> Image.Image:
    """Open a photo and read its header; pixels are decoded later.

    Raises InputError for a file that does not exist, is no photo, or has over 170 million pixels.
    """
    if not os.path.isfile(path):  # a name that no file can have is none
        what = "is a link to nothing" if os.path.islink(path) else "does not exist or is no file"
        raise InputError(f"{path}: {what}; it must be a file: check the path")
    try:
        with warnings.catch_warnings():  # Pillow warns from half of the bound above
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_formats(path))
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(_too_large(path)) from None
    except UnidentifiedImageError:
        if path.suffix.lower() == ".gif":
            raise InputError(
                f"{path}: is a GIF; it holds few colors: give it as a video (mp4), or its "
                "frames as single photos"
            ) from None
        raise InputError(
            f"{path}: its content is no {', '.join(FORMATS)} image; its name says nothing: "
            "remove the file or replace it"
        ) from None
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read as an image; {error}: leave it out") from error
    if not 0 < image.width * image.height <= MAX_PIXELS:
        image.close()
        raise InputError(_too_large(path))
    return image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened photo as its EXIF tag turns it, before it is decoded.

    A tag behind the pixels of a PNG is not seen.
    """
    width, height = image.size
    told = Image.Image.getexif(image)  # PNG's own decodes the photo to look behind it
    swapped = told.get(ORIENTATION, 1) in QUARTER_TURNS
    if getattr(image, "tag_v2", {}).get(ORIENTATION, 1) in QUARTER_TURNS:
        swapped = not swapped  # Pillow has turned the size of a TIFF as it opened it
    return (height, width) if swapped else (width, height)


def _formats(path: Path) -> tuple[str, ...]:
    """What the file may be; one of a phone's two formats by the brands that its start names.

    Raises InputError where what reads that format is not installed.
    """
    with path.open("rb") as file:
        start = file.read(256)
    end = int.from_bytes(start[:4])  # of the box of brands: the chief one, a version, the others
    named = {start[8:12]} | {start[i : i + 4] for i in range(16, min(end, len(start)), 4)}
    kinds = [kind for kind, brands in BRANDS.items() if not named.isdisjoint(brands)]
    if start[4:8] != b"ftyp" or not kinds:
        return FORMATS
    if kinds[0] == "AVIF":  # "mif1" alone says little: it is named by AVIF too
        if not features.check("avif"):
            raise InputError(
                f"{path}: is an AVIF photo; this Pillow cannot read it: pip install 'pillow>=11.3'"
            )
    elif find_spec("pi_heif") is None:
        raise InputError(
            f"{path}: is a HEIC photo; reading it needs pi-heif: pip install pi-heif, or convert "
            "it to JPEG"
        )
    else:
        import_module("pi_heif").register_heif_opener(thumbnails=False)
    return (kinds[0],)


def _too_large(path: Path) -> str:
    return f"{path}: has no pixel, or more than {MAX_PIXELS:,} pixels; make it smaller"
