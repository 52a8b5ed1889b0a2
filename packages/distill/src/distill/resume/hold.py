"""One run a directory, one process a job: what one holds is refused to all others."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path

NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of some network disks
NONE_HERE = "no locks of files here, so processes cannot share: choose a folder on another disk"
_OPEN: set[int] = set()  # files that are locked here


class NoLocksError(OSError):
    """The disk, or the system, has no locks of files."""


@contextmanager
def held_alone(directory: Path | None, *, writes: bool) -> Iterator[None]:
    """Hold a directory for this process while the block runs.

    The system lets go when a process ends, however it ends, and no file is left; nor are the
    directories that were made for it, if they stayed empty. Where a disk or a system has no such
    locks, nothing is held.

    Raises ValueError where another run holds it.
    """
    if directory is None or not writes or os.name != "posix":
        yield
        return
    made = [here for here in (directory, *directory.parents) if not here.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    with _opened(directory, os.O_RDONLY) as handle:
        if not _locked(handle):
            raise ValueError(
                f"directory={str(directory)!r}; another run is at work in it: wait for its end, or "
                "give another directory"
            )
        try:
            yield
        finally:
            with suppress(OSError):  # it is of use
                for here in made:
                    here.rmdir()


@contextmanager
def held_file(path: Path, *, wait: bool = False) -> Iterator[int | None]:
    """Hold a file, which is made where it is missing, for this process while the block runs.

    Yields a handle to read and write it by, or None where another process holds it. The file
    stays: removing it would let two processes hold files of one name.

    - `wait`: until the other process lets go, or ends.

    Raises NoLocksError where nothing can be held.
    """
    if os.name != "posix":
        raise NoLocksError(errno.ENOLCK, NONE_HERE, str(path))
    with _opened(path, os.O_RDWR | os.O_CREAT) as handle:
        yield handle if _locked(handle, wait=wait, needed=path) else None


@contextmanager
def held_empty(directory: Path) -> Iterator[None]:
    """Make an empty directory, hold it while the block runs, and remove it; others wait meanwhile.

    What a killed process left in it goes. Where nothing can be held, nobody waits.
    """
    while True:
        directory.mkdir(exist_ok=True)
        with ExitStack() as stack:
            try:
                if os.name == "posix":
                    handle = stack.enter_context(_opened(directory, os.O_RDONLY))
                    _locked(handle, wait=True)
                    if not os.path.samestat(os.fstat(handle), directory.stat()):
                        continue
                for left in directory.iterdir():
                    left.unlink()
            except FileNotFoundError:  # who held it before has removed it
                continue
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            yield
            return


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file that forked processes do not share: its lock would last as long as they do."""
    handle = os.open(path, flags, 0o644)
    _OPEN.add(handle)
    try:
        yield handle
    finally:
        if handle in _OPEN:  # unless this is a forked process itself
            _OPEN.remove(handle)
            with suppress(OSError):  # one that was just forked may not have closed its own yet
                locks = import_module("fcntl")
                locks.flock(handle, locks.LOCK_UN)
            os.close(handle)


def _close_all() -> None:
    while _OPEN:
        os.close(_OPEN.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)


def _locked(handle: int, *, wait: bool = False, needed: Path | None = None) -> bool:
    """Whether this process holds a file now, or may go on without a lock."""
    locks = import_module("fcntl")
    try:
        locks.flock(handle, locks.LOCK_EX | (0 if wait else locks.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        if needed:
            raise NoLocksError(error.errno, NONE_HERE, str(needed)) from error
    return True
