"""NumPy files: `.npy` and `.npz`; nothing is pickled or unpickled."""

import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from recon_eval.formats.files import new_file, require_bounded

MAX_BYTES = 1 << 30  # also after decompression

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


def read_npy(path: str | Path) -> np.ndarray:
    """Return the numbers of a .npy file. Raises ValueError where it holds anything else."""
    path = Path(path)
    require_bounded(path, MAX_BYTES)
    try:
        values = np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise ValueError(f"{path}: is no NumPy array; {str(error)[:200]}: copy it again") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: is no NumPy array of numbers; it must be: save it without objects"
        )
    return values


def read_npz(
    path: str | Path, names: Collection[str] | None = None, *, max_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name: those of `names` that it has, or all.

    `max_bytes` bounds the file and, apart from it, what is unpacked (1 GiB unless given). Raises
    ValueError where the file is damaged, larger, or holds Python objects.
    """
    path, limit = Path(path), MAX_BYTES if max_bytes is None else max_bytes
    require_bounded(path, limit)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m.file_size for m in archive.infolist()}
        wanted = [name for name in members if names is None or name in names]
        size = sum(members[name] for name in wanted)
        if size > limit:
            raise OSError(f"it unpacks to {size} bytes, and at most {limit} are read")
        with np.load(path, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in wanted}
    except _BROKEN as error:
        raise ValueError(
            f"{path}: is no file of NumPy arrays; {str(error)[:200]}: copy it again"
        ) from error


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray | Sequence[np.ndarray]]) -> None:
    """Write arrays by name, uncompressed.

    An array may be given as a list of parts along its first axis: part follows part into the file,
    and nothing is joined in memory. Raises ValueError for parts of unequal types, or of shapes that
    differ in more than their length, and for Python objects.
    """
    with new_file(Path(path)) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, parts in arrays.items():
            _append(archive, name, [parts] if isinstance(parts, np.ndarray) else parts)


def _append(archive: zipfile.ZipFile, name: str, parts: Sequence[np.ndarray]) -> None:
    first = parts[0]
    if first.dtype.hasobject:
        raise ValueError(
            f"{name}: has the type {first.dtype}; only numbers and text are written: convert it"
        )
    for part in parts:
        if (part.ndim, part.shape[1:], part.dtype) != (first.ndim, first.shape[1:], first.dtype):
            raise ValueError(
                f"{name}: has parts of {first.dtype} {first.shape} and {part.dtype} {part.shape}; "
                "they must be alike but for their length: give each the same shape and type"
            )
    shape = (sum(len(part) for part in parts), *first.shape[1:]) if first.ndim else ()
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_2_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=first.dtype).tobytes())
