"""Work shared by the threads that PyTorch's own operations run on.

Between two operations these threads stay awake for some milliseconds and occupy their cores, so
that threads of another make would wait for a core to become free. Here they get one task more.
"""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import torch

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def shared(work: Callable[[int], None], count: int) -> None:
    """Do `work` for every number below `count`, in any order; whoever is free takes the next.

    The caller does all of it where there is no team. Raises what `work` raises first; numbers that
    nobody has taken by then are left out.
    """
    numbers, kept = iter(range(count)), _Kept()

    def take(_: int | None = None) -> None:
        with kept:
            for number in numbers:
                if kept.failure is None:
                    work(number)

    helpers, team = min(torch.get_num_threads(), count), _team()
    if helpers > 1 and team is not None:
        team(_CALLBACK(take), None, helpers, 0)
    else:
        take()
    if kept.failure is not None:
        raise kept.failure


class _Kept:
    """Keeps the first failure: none may leave a callback, where it would be printed and lost."""

    failure: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> bool:
        self.failure = self.failure or failure
        return True


def is_whole() -> bool:
    """Whether work is shared by all threads that PyTorch uses."""
    return _team() is not None or torch.get_num_threads() == 1


@functools.cache
def _team() -> Callable[..., None] | None:
    """What runs a function on each thread of GNU OpenMP, of the copy that PyTorch brings along."""
    home = Path(torch.__file__).parent
    for folder in (home / "lib", home.parent / "torch.libs"):
        for library in sorted(folder.glob("libgomp*.so*")):
            run: Callable[..., None] | None = getattr(
                ctypes.CDLL(str(library)), "GOMP_parallel", None
            )
            return run
    return None
