"""Opening a photo file: common formats alone, bounded in size, with errors that name the file."""

import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from recon_backbones.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
MAX_PIXELS = 170_000_000
ORIENTATION = 0x0112  # the EXIF tag

# Whatever a decoder may raise on damaged bytes.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def open_photo(path: Path) -> Image.Image:
    """Open a photo and read its header; pixels are decoded later.

    Raises InputError for a file that does not exist, is no photo, or has over 170 million pixels.
    """
    if not path.is_file():
        raise InputError(f"{path}: does not exist or is no file; check the path")
    try:
        with warnings.catch_warnings():  # Pillow warns from half of the bound above
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        raise InputError(_too_large(path)) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: its content is no {', '.join(FORMATS)} image, whatever its name says; "
            "remove the file or replace it"
        ) from None
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); leave it out") from error
    if not 0 < image.width * image.height <= MAX_PIXELS:
        image.close()
        raise InputError(_too_large(path))
    return image


def _too_large(path: Path) -> str:
    return f"{path}: has no pixel, or more than {MAX_PIXELS:,} pixels; make it smaller"
