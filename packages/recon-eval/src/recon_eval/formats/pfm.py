"""Portable float maps: `Pf` or `PF`, width and height, a scale, then rows from the bottom up.

The sign of the scale gives the byte order (negative: little endian). Its magnitude is ignored, as
by all readers in this field: Middlebury writes 1/255 there without meaning it.
"""

import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon_eval.formats.files import new_file, read_bounded
from recon_eval.formats.records import check_shape

MAX_SIDE = 1 << 15
MAX_BYTES = 1 << 30
_HEADER = re.compile(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+(\S{1,40})[ \t\r]*\n")


def read_pfm(path: str | Path) -> Float32[np.ndarray, "y x"] | Float32[np.ndarray, "y x 3"]:
    """Return the map with its first row on top.

    Raises ValueError where the header is wrong, a side exceeds 32768, or the number of bytes that
    follow is not that of the header's size.
    """
    path = Path(path)
    raw = read_bounded(path, MAX_BYTES)
    header = _HEADER.match(raw[:128])
    if header is None:
        raise ValueError(
            f"{path}: begins with {raw[:16]!r}; a PFM begins with Pf or PF, W H, scale: "
            "copy it again"
        )
    kind, width, height = header[1], int(header[2]), int(header[3])
    channels = 3 if kind == b"PF" else 1
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(
            f"{path}: is {width} x {height}; sides must be in 1..{MAX_SIDE}: copy it again"
        )
    wanted, found = 4 * channels * width * height, len(raw) - header.end()
    if wanted != found:
        raise ValueError(
            f"{path}: {found} bytes follow the header; {width} x {height} x {channels} "
            f"float32 need {wanted}, so it is truncated or of another kind: copy it again"
        )
    order = "<" if _scale(header[4], path) < 0 else ">"
    flat = np.frombuffer(raw, dtype=f"{order}f4", offset=header.end())
    shape = (height, width) if channels == 1 else (height, width, 3)
    return np.ascontiguousarray(flat.reshape(shape)[::-1], dtype=np.float32)


def write_pfm(path: str | Path, values: Float32[np.ndarray, "y x"]) -> None:
    """Write a map of one channel, little endian. Raises ValueError for another shape."""
    check_shape(values, "values", (None, None))
    height, width = values.shape
    rows = np.ascontiguousarray(values[::-1], dtype="<f4")
    with new_file(Path(path)) as partial:
        partial.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + rows.tobytes())


def _scale(word: bytes, path: Path) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value == 0:
        raise ValueError(
            f"{path}: the scale is {word!r}; it must be a finite number but 0: write it again"
        )
    return value
