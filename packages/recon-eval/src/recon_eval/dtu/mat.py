"""Numeric arrays in MATLAB files of version 5 to 7.2.

SciPy reads more, but a damaged file ends the process there (in 1.17.1 a segmentation fault within a
few hundred random changes of bytes); here every length is checked against what is left of the file
before it is used.

Source: MathWorks, "MAT-File Format", chapter 1. A file is a header of 128 bytes and elements; an
element is a type, a length and data, padded to 8 bytes. An array is an element that holds its
flags, its dimensions, its name and its values, the first index fastest.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from recon_eval.formats.files import read_bounded

MAX_BYTES = 1 << 30  # also after decompression
HEADER = 128
MATRIX, COMPRESSED = 14, 15
NUMERIC_CLASSES = range(6, 16)  # double, single, and the integers
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip


class _Broken(Exception):
    """What is wrong with a file; `read_mat` adds which."""


def read_mat(path: str | Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return the named arrays of a file; real, dense and numeric or logical, logical as uint8.

    Raises ValueError where the file is damaged, of another version, or lacks a name.
    """
    path = Path(path)
    raw = read_bounded(path, MAX_BYTES)
    try:
        order = _byte_order(raw)
        found = {
            name: values
            for content in _matrices(raw[HEADER:], order)
            for name, values in _read_matrix(content, order, names)
        }
    except _Broken as error:
        raise ValueError(
            f"{path}: is no MATLAB file of version 5 to 7.2; {error}: copy it again"
        ) from None
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path}: has no variable {', '.join(missing)}; it must have all that are asked "
            "for: take the file of the data set"
        )
    return found


def _byte_order(raw: bytes) -> str:
    if raw.startswith(b"MATLAB 7.3"):
        raise _Broken("it is of version 7.3; save it again with -v7")
    mark = raw[124:128]
    if mark == b"\x00\x01IM":
        return "<"
    if mark == b"\x01\x00MI":
        return ">"
    raise _Broken(f"its header of {min(len(raw), HEADER)} bytes ends in {mark!r}")


def _elements(raw: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The type and the data of each element."""
    position = 0
    while position + 8 <= len(raw):
        kind, size = struct.unpack_from(f"{order}II", raw, position)
        start, step = position + 8, size if kind == COMPRESSED else -(-size // 8) * 8
        if kind >> 16:  # a small element: its length and up to four bytes of data in one tag
            kind, size, start, step = kind & 0xFFFF, kind >> 16, position + 4, 0
            if size > 4:
                raise _Broken(f"a small element of {size} bytes")
        if start + size > len(raw):
            raise _Broken(f"an element of {size} bytes where {len(raw) - start} are left")
        yield kind, raw[start : start + size]
        position += 8 + step


def _matrices(raw: bytes, order: str) -> Iterator[bytes]:
    budget = MAX_BYTES
    for kind, content in _elements(raw, order):
        if kind == COMPRESSED:
            unpacked = _decompress(content, budget)
            budget -= len(unpacked)
            yield from (inner for what, inner in _elements(unpacked, order) if what == MATRIX)
        elif kind == MATRIX:
            yield content


def _decompress(content: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(content, max(limit, 1))  # 0 would mean no limit
    except zlib.error as error:
        raise _Broken(str(error)) from None
    if stream.unconsumed_tail or not stream.eof:
        raise _Broken(f"compressed data is cut off or longer than {MAX_BYTES} bytes")
    return unpacked


def _read_matrix(
    content: bytes, order: str, names: Collection[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the values of an array, if it is one of `names`."""
    parts = list(_elements(content, order))
    if len(parts) < 3:
        return  # an array without a name, as MATLAB writes for its own use
    (_, flags), (_, dimensions), (_, name) = parts[:3]
    label = name.decode("latin-1")
    if label not in names:
        return
    if len(flags) != 8 or len(dimensions) % 4 or len(dimensions) < 8 or len(parts) < 4:
        raise _Broken(f"the array {label} lacks flags, dimensions or values")
    word = struct.unpack(f"{order}II", flags)[0]
    if word & 0xFF not in NUMERIC_CLASSES or word & 0x0800:
        raise _Broken(f"the array {label} is not real, dense and numeric (class {word & 0xFF})")
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    kind, values = parts[3]
    if kind not in _TYPES or min(shape) < 0:
        raise _Broken(f"the array {label} has the type {kind} and the shape {shape}")
    layout = np.dtype(order + _TYPES[kind])
    if math.prod(shape) * layout.itemsize != len(values):
        raise _Broken(f"the array {label} of {shape} has {len(values)} bytes of values")
    flat = np.frombuffer(values, dtype=layout).astype(layout.newbyteorder("="))
    yield label, flat.reshape(shape, order="F")
