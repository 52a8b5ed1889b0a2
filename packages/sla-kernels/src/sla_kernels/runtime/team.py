"""The threads that PyTorch's own operations run on, for what is compiled to run on them too.

Between two operations these threads stay awake for some milliseconds and occupy their cores, so
that threads of another make would wait for a core to become free. Here they get one task more.
"""

import ctypes
import functools
from pathlib import Path

import torch

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_RUN = ctypes.CFUNCTYPE(None, _CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
_ALONE = _RUN(lambda work, given, threads, flags: work(given))  # where there is no team
_FIRST = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)


def size() -> int:
    """How many threads take part in what is shared here."""
    return 1 if _library() is None else torch.get_num_threads()


def is_whole() -> bool:
    """Whether these are all threads that PyTorch uses."""
    return size() == torch.get_num_threads()


def entries() -> tuple[int, int]:
    """Where a function is run on threads, and where one learns its number."""
    library = _library()
    own = (
        (_ALONE, _FIRST) if library is None else (library.GOMP_parallel, library.omp_get_thread_num)
    )
    found = [ctypes.cast(call, ctypes.c_void_p).value or 0 for call in own]
    return found[0], found[1]


@functools.cache
def _library() -> ctypes.CDLL | None:
    """GNU OpenMP, of the copy that PyTorch brings along."""
    home = Path(torch.__file__).parent
    for folder in (home / "lib", home.parent / "torch.libs"):
        for library in sorted(folder.glob("libgomp*.so*")):
            found = ctypes.CDLL(str(library))
            return found if hasattr(found, "GOMP_parallel") else None
    return None
