"""Point clouds in binary glTF: the positions of every primitive, as stored.

Source: Khronos, "glTF 2.0 specification", section 4 (GLB). Node transforms are not applied.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from .files import parse_json, read_bounded

MAX_BYTES = 4 << 30
MAX_STRIDE = 252  # of glTF


def read_glb_points(path: str | Path) -> Float32[Tensor, "p 3"]:
    """Return the vertex positions of a GLB file; ValueError where it is malformed or has none."""
    path = Path(path)
    raw = read_bounded(path, MAX_BYTES)
    chunks = _chunks(raw, path)
    if b"JSON" not in chunks or b"BIN\0" not in chunks:
        raise ValueError(f"{path}: needs a JSON and a BIN chunk; it has {sorted(chunks)}")
    scene = parse_json(chunks[b"JSON"], path)
    try:
        parts = [
            _positions(scene, primitive["attributes"]["POSITION"], chunks[b"BIN\0"])
            for mesh in scene["meshes"]
            for primitive in mesh["primitives"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: its scene is malformed: {error!r}") from None
    if not parts:
        raise ValueError(f"{path}: has no primitive with positions")
    return torch.from_numpy(np.concatenate(parts))


def _chunks(raw: bytes, path: Path) -> dict[bytes, bytes]:
    if len(raw) < 12 or raw[:8] != b"glTF\x02\0\0\0":
        raise ValueError(f"{path}: begins with {raw[:8]!r}; a GLB begins with glTF and version 2")
    found: dict[bytes, bytes] = {}
    position = 12
    while position + 8 <= len(raw):
        size, kind = struct.unpack_from("<I4s", raw, position)
        content = raw[position + 8 : position + 8 + size]
        if len(content) < size:
            raise ValueError(
                f"{path}: the chunk {kind!r} is cut off: {len(content)} of {size} bytes"
            )
        found.setdefault(kind, content)
        position += 8 + size
    return found


def _positions(scene: dict[str, Any], index: int, binary: bytes) -> np.ndarray:
    accessor = scene["accessors"][index]
    if accessor["componentType"] != 5126 or accessor["type"] != "VEC3":
        raise ValueError("positions must be vectors of three float32")
    view = scene["bufferViews"][accessor["bufferView"]]
    stride = int(view.get("byteStride", 12))
    start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
    count = int(accessor["count"])
    fits = start >= 0 and start + (count - 1) * stride + 12 <= len(binary)
    if count < 1 or not 12 <= stride <= MAX_STRIDE or not fits:
        raise ValueError(
            f"{count} positions, {stride} bytes apart from byte {start} on, do not fit the "
            f"{len(binary)} bytes, or their distance is not 12 to {MAX_STRIDE}"
        )
    layout = np.dtype({"names": ["p"], "formats": ["<3f4"], "offsets": [0], "itemsize": stride})
    padded = binary[start : start + count * stride].ljust(count * stride, b"\0")
    return np.frombuffer(padded, dtype=layout, count=count)["p"].copy()
