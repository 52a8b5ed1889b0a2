"""Opening and writing files: bounded sizes, whole or not at all, errors that name file and rule."""

import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIDECARS = (".DS_Store", "Thumbs.db", "desktop.ini")  # that file browsers leave
SEEN = "[!.]"  # before a pattern: no hidden file, as ._NAME, which a Mac leaves beside NAME
SHOWN = 40  # characters of a name in that of its partial file
MAX_TEXT = 1 << 20  # bytes; a pair.txt of a thousand views has about 200 kB
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # told by the system without a name


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
    require_bounded(path, limit)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Return a small text file; ValueError where it is not text."""
    try:
        return read_bounded(path, MAX_TEXT).decode("utf-8-sig")  # Windows begins with a mark
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: is not a text file ({error.reason}); it must be UTF-8: save it so"
        ) from error


def parse_json(raw: bytes, path: Path) -> Any:
    """Return what JSON text says; ValueError where it is none, or nested too deeply."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON; {error}: copy it again") from None


def numbers(words: list[str], path: Path, what: str) -> list[float]:
    """Return words as finite numbers; ValueError names the word that is not one."""
    found = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            raise ValueError(
                f"{path}: {what} holds {word[:40]!r}; that is no number: mend it"
            ) from None
        if not abs(value) < 1e30:
            raise ValueError(f"{path}: {what} holds {word[:40]!r}; that is not finite: mend it")
        found.append(value)
    return found


def require_bounded(path: Path, limit: int) -> None:
    """Raise where a path is no file, is empty or has more than `limit` bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist or is no file")
    size = path.stat().st_size
    if not 0 < size <= limit:
        raise ValueError(
            f"{path}: has {size} bytes; a file of this kind has 1 to {limit}: copy it again"
        )


def require_file(path: Path, partner: Path) -> Path:
    """Return `path`, or raise FileNotFoundError that names the file it belongs to."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist, and {partner.name} needs it")
    return path


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` when the block succeeds.

    A link stays, and what it leads to is written. Who may read it is what the process's umask
    leaves. Raises OSError for a folder, a device or a pipe.
    """
    suffix, path = path.suffix, Path(os.path.realpath(path))
    _check_replaceable(path)
    partial = _beside(path, suffix)
    partial.touch(exist_ok=False)
    try:
        with _told_of(partial, path):
            yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the name `path` when the block succeeds.

    What was at `path` is removed only then, so a failure keeps it. A link stays, and what it leads
    to is replaced. Who may read it is what the process's umask leaves. Raises OSError at once where
    a disk is mounted at `path`, and where `path` ends in no name.
    """
    if path.name in ("", ".."):
        raise OSError(
            f"{path} is no name; a folder that is written whole takes one: name it from outside"
        )
    path = Path(os.path.realpath(path))
    if os.path.ismount(path):
        raise OSError(
            f"{path} is where a disk is mounted; such a folder cannot be replaced: choose one in it"
        )
    partial = _beside(path)
    partial.mkdir()
    try:
        with _told_of(partial, path):
            yield partial
        if path.exists():
            _take_the_place_of(path, partial)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _told_of(partial: Path, path: Path) -> Iterator[None]:
    """Let the system's errors speak of `path` where they name `partial`, or a full disk nothing."""
    try:
        yield
    except OSError as error:
        named = partial if error.filename is None and error.errno in FULL else error.filename
        if isinstance(named, str | Path) and Path(named).is_relative_to(partial):
            error.filename = str(path / Path(named).relative_to(partial))
        raise


def _beside(path: Path, suffix: str = "") -> Path:
    """A free hidden name beside `path`, whose folder is made; a long one is cut, to fit as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name[:SHOWN]}.{secrets.token_hex(4)}{suffix}")


def _take_the_place_of(path: Path, partial: Path) -> None:
    """Rename `partial` to `path`, and remove what was there; where that fails, it is put back."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:SHOWN]}.old.", dir=path.parent))
    before = aside / path.name
    try:
        path.replace(before)
        partial.replace(path)
    except BaseException as error:
        try:
            if before.exists():
                before.replace(path)
            aside.rmdir()
        except OSError:
            raise OSError(
                f"{path}: {error}; what it held is whole in {before}: move it back"
            ) from error
        raise
    shutil.rmtree(aside)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON file in UTF-8, indented, non-ASCII letters kept, NaN and infinity refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Bytes of a file's name that are no UTF-8 stand as JSON escapes them.
    """
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_writable(folder: Path) -> None:
    """Raise OSError, before any work, when nothing can be written below `folder`."""
    if str(folder).encode(errors="replace") != os.fsencode(folder):
        raise OSError(f"{str(folder)!r} is no UTF-8; a name to write must be: choose another")
    existing = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not existing.is_dir():
        what = "a file" if existing.exists() else "a link to nothing"
        raise NotADirectoryError(f"{existing} is {what}; it must be a folder: choose another")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write in {existing}; {error.strerror}: choose another folder"
        ) from error


def check_takes_file(path: Path) -> None:
    """Raise OSError, before any work, where no file can take the name `path`."""
    _check_replaceable(path)
    check_writable(Path(os.path.realpath(path)).parent)  # of a link, of what it leads to


def _check_replaceable(path: Path) -> None:
    """Raise OSError where what a file is to replace is none: /dev/null must stay what it is."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a file must go there: name a file in it")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device or a pipe; a file must go there: name another")


def refuse_foreign(folder: Path, what: str, own: Callable[[str], bool]) -> None:
    """Raise FileExistsError where a folder that is to be replaced holds a name that is not `own`.

    - `what`: what it must be, in words.
    """
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if strange := [name for name in held if not own(name) and name not in SIDECARS]:
        raise FileExistsError(
            f"{folder} is no {what}; it holds {', '.join(strange[:3])}: choose another folder"
        )
