"""Write files so that a reader finds the old content or the new, never a part."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from distill.resume.hold import held_empty

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file: write beside it, flush to disk, rename; of a link, what it leads to."""
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_directory(path.parent)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Give a directory to fill that becomes `path` by one rename, or vanishes on an error.

    The block must flush its own files to disk; the directories are flushed here.
    """
    beside = path.with_name(f".{path.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        sync_directory(beside)
        os.rename(beside, path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def replace_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file in a directory beside `path`, flush it to disk, rename.

    A link stays, and what it leads to is written. Processes that write one file take turns, where
    the disk has locks.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    with held_empty(beside):
        write_tensors(beside / path.name, tensors, metadata)
        os.replace(beside / path.name, path)
        sync_directory(path.parent)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, for whom the umask leaves it, and flush it to disk.

    Raises OSError if the disk refused, with the system's error number.
    """
    path.touch()
    allowed = path.stat().st_mode  # new safetensors replace it by a file for its owner alone
    try:
        save_file(_apart(tensors), path, metadata)
    except SafetensorError as error:
        raise _system_error(error, path) from error
    path.chmod(allowed)
    sync_file(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, also where its name is no UTF-8, which safetensors cannot open.

    Raises SafetensorError if it is damaged.
    """
    return load_file(path) if is_utf8(path) else load(path.read_bytes())


def is_utf8(path: Path) -> bool:
    """Whether a name is UTF-8, without which safetensors opens nothing."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as the format holds them: in order, and copied where one has two names."""
    places: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        plain = tensor.contiguous()
        found[name] = plain.clone() if plain.data_ptr() in places else plain
        places.add(plain.data_ptr())
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text file and flush it to disk."""
    path.write_text(text, encoding="utf-8")
    sync_file(path)


def sync_file(path: Path) -> None:
    """Flush a file's content to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial(directory: Path) -> None:
    """Remove what a killed writer left half done."""
    for path in directory.glob(".*.partial"):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a directory; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def is_full(error: OSError) -> bool:
    """Return whether an error means that no space is left."""
    return error.errno in FULL


def _system_error(error: SafetensorError, path: Path) -> Exception:
    found = re.search(r"(?:os error|code:) (\d+)", str(error))  # safetensors 0.4 says the latter
    return OSError(int(found[1]), str(error), str(path)) if found else error
