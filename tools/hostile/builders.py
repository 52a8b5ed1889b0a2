"""Files as each parser expects them, and the ways in which a file lies."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Write = Callable[[Path], Path]  # puts files into a folder and returns the one to read
EVIL_NAMES = ("../out.jpg", "/etc/passwd", "a/../../out.jpg", "..", ".", "a\0b.jpg", "\u202egpj.a")
TREE = b"[" * 200_000
BIG = 2**62


def raw(name: str, content: bytes) -> Write:
    """One file of these bytes."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def mutations(name: str, whole: bytes) -> Iterator[tuple[str, Write]]:
    """A file cut, doubled, emptied, overwritten, and of another kind."""
    middle = len(whole) // 2
    kinds = {
        "empty": b"",
        "one byte": whole[:1],
        "cut in its header": whole[: min(20, middle)],
        "cut in the middle": whole[:middle],
        "cut at its end": whole[:-3],
        "zeros in the middle": whole[:middle] + bytes(64) + whole[middle + 64 :],
        "ones in its header": whole[:8] + b"\xff" * 24 + whole[32:],
        "backwards": whole[::-1],
        "zeros": bytes(4096),
        "noise": np.random.default_rng(0).bytes(4096),
        "a program": b"#!/bin/sh\ntouch pwned\n",
        "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system"
        b"\x94\x93\x94\x8c\x0btouch pwned\x94\x85\x94R\x94.",
    }
    for kind, content in kinds.items():
        yield kind, raw(name, content)


def linked(name: str, target: str) -> Write:
    """A link in place of a file."""

    def write(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return write


def looped(name: str) -> Write:
    """A link to itself."""
    return linked(name, name)


def fifo(name: str) -> Write:
    """A pipe that nobody writes into: who opens it waits for ever."""

    def write(folder: Path) -> Path:
        import os

        os.mkfifo(folder / name)
        return folder / name

    return write


def directory(name: str) -> Write:
    """A folder that is called as a file."""

    def write(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return write


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header says what it likes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def picture(kind: str) -> bytes:
    """A small photo that is well."""
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def npy(shape: tuple[int, ...], kind: str = "<f4", body: bytes = b"") -> bytes:
    """An array whose header says what it likes."""
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def archive(members: dict[str, bytes], *, packed: bool = True) -> bytes:
    """A zip of these members."""
    buffer = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def glb(scene: object, binary: bytes = bytes(36), text: bytes | None = None) -> bytes:
    """A GLB of a scene."""
    body = json.dumps(scene).encode() if text is None else text
    body += b" " * (-len(body) % 4)
    parts = struct.pack("<I4s", len(body), b"JSON") + body
    parts += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file whose header says what it likes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body
