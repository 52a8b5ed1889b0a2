"""One run a directory: a second one is refused while the first is at work."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of some network disks


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
    locks = import_module("fcntl")
    handle = os.open(directory, os.O_RDONLY)
    try:
        locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(
            f"directory={str(directory)!r}; another run is at work in it: wait for its end, or "
            "give another directory"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(handle)
            raise
    try:
        yield
    finally:
        os.close(handle)
