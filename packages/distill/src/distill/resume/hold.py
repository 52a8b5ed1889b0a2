"""One run a directory, one process a job: what one holds is refused to all others."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of some network disks
NONE_HERE = "no locks of files here, so processes cannot share: choose a folder on another disk"


class NoLocksError(OSError):
    """The disk, or the system, has no locks of files."""


@contextmanager
def held_alone(directory: Path | None, *, writes: bool) -> Iterator[None]:
    """Hold a directory for this process while the block runs.

    The system lets go when a process ends, however it ends, and no file is left. Where a disk or a
    system has no such locks, nothing is held.

    Raises ValueError where another run holds it.
    """
    if directory is None or not writes or os.name != "posix":
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        if not _locked(handle):
            raise ValueError(
                f"directory={str(directory)!r}; another run is at work in it: wait for its end, or "
                "give another directory"
            )
        yield
    finally:
        os.close(handle)


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
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield handle if _locked(handle, wait=wait, needed=path) else None
    finally:
        os.close(handle)


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
