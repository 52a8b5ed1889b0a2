"""Work shared by the threads that PyTorch's own operations run on.

Between two operations these threads stay awake for some milliseconds and occupy their cores, so
that threads of another make would wait for a core to become free. Here they get one task more.
"""

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path

import torch

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_RUN = ctypes.CFUNCTYPE(None, _CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
_ALONE = _RUN(lambda work, given, threads, flags: work(given))  # where there is no team
_FIRST = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
_own = threading.local()  # `member`: whether this thread is doing a part of a team's work


def shared(work: Callable[[int], None], count: int, most: int | None = None) -> None:
    """Do `work` for every number below `count`, in any order; whoever is free takes the next.

    The caller does all of it where there is no team, and where it is work of a team itself. PyTorch
    computes without gradients in here, and on a team each of its operations on one thread.

    - `most`: of the threads that take part.

    Raises what `work` raises first; numbers that nobody has taken by then are left out.
    """
    numbers, kept, inference = iter(range(count)), _Kept(), torch.is_inference_mode_enabled()

    def take() -> None:
        with kept, torch.inference_mode(inference), torch.no_grad():
            for number in numbers:
                if kept.failure is None:
                    work(number)

    helpers, team = min(size(), count, most or count), _team()
    if helpers > 1 and team is not None:
        team(_CALLBACK(_as_member(take)), None, helpers, 0)
    else:
        take()
    if kept.failure is not None:
        raise kept.failure


def size() -> int:
    """How many threads take part in what is shared here."""
    alone = getattr(_own, "member", False) or _team() is None
    return 1 if alone else torch.get_num_threads()


def _as_member(take: Callable[[], None]) -> Callable[[int | None], None]:
    def taken(_: int | None) -> None:
        _own.member = True
        try:
            take()
        finally:
            _own.member = False

    return taken


class _Kept:
    """Keeps the first failure: none may leave a callback, where it would be printed and lost."""

    failure: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> bool:
        self.failure = self.failure or failure
        return True


def entries() -> tuple[int, int]:
    """For what is compiled: where a function is run on threads, and where one learns its number."""
    library = _library()
    own = (
        (_ALONE, _FIRST) if library is None else (library.GOMP_parallel, library.omp_get_thread_num)
    )
    found = [ctypes.cast(call, ctypes.c_void_p).value or 0 for call in own]
    return found[0], found[1]


def is_whole() -> bool:
    """Whether work is shared by all threads that PyTorch uses."""
    return _team() is not None or torch.get_num_threads() == 1


def _team() -> Callable[..., None] | None:
    """What runs a function on each thread of GNU OpenMP."""
    library = _library()
    return None if library is None else library.GOMP_parallel


@functools.cache
def _library() -> ctypes.CDLL | None:
    """GNU OpenMP, of the copy that PyTorch brings along."""
    home = Path(torch.__file__).parent
    for folder in (home / "lib", home.parent / "torch.libs"):
        for library in sorted(folder.glob("libgomp*.so*")):
            found = ctypes.CDLL(str(library))
            return found if hasattr(found, "GOMP_parallel") else None
    return None
