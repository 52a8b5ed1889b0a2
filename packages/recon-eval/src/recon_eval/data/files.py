"""Opening files of a data set: bounded sizes, and errors that name the file and the rule."""

import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MAX_ARRAYS = 1 << 30  # bytes, also after decompression
MAX_TEXT = 1 << 20  # bytes; a pair.txt of a thousand views has about 200 kB

# what NumPy's reader raises on damaged files
_BROKEN = (
    ValueError,
    EOFError,
    OSError,
    SyntaxError,
    LookupError,
    MemoryError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def require_folder(path: str | Path, what: str) -> Path:
    """Return `path` if it is a folder, else raise FileNotFoundError or NotADirectoryError."""
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: does not exist; it must be {what}")
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: is a file; it must be {what}")
    return path


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's bytes; ValueError where it is empty or larger than `limit` bytes."""
    _require_bounded(path, limit)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Return a small text file; ValueError where it is not text."""
    try:
        return read_bounded(path, MAX_TEXT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not a text file ({error.reason})") from error


def parse_json(raw: bytes, path: Path) -> Any:
    """Return what JSON text says; ValueError where it is none, or nested too deeply."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON: {error}") from None


def numbers(words: list[str], path: Path, what: str) -> list[float]:
    """Return words as finite numbers; ValueError names the word that is not one."""
    found = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"{path}: {what} holds {word[:40]!r}, which is no number") from None
        if not abs(value) < 1e30:
            raise ValueError(f"{path}: {what} holds {word[:40]!r}, which is not finite")
        found.append(value)
    return found


def read_array(path: Path) -> np.ndarray:
    """Return the numbers of a .npy file; nothing is unpickled."""
    _require_bounded(path, MAX_ARRAYS)
    try:
        values = np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise ValueError(f"{path}: is no NumPy array: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: is no NumPy array of numbers")
    return values


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name; nothing is unpickled."""
    _require_bounded(path, MAX_ARRAYS)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_ARRAYS:
            raise ValueError(f"unpacks to {size} bytes, and at most {MAX_ARRAYS} are read")
        with np.load(path, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored}
    except _BROKEN as error:
        raise ValueError(f"{path}: is no file of NumPy arrays: {error}") from error


def _require_bounded(path: Path, limit: int) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist or is no file")
    size = path.stat().st_size
    if not 0 < size <= limit:
        raise ValueError(f"{path}: has {size} bytes; a file of this kind has 1 to {limit}")
