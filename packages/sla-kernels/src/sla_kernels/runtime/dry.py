"""Run an operator without its kernels: every tensor is made, and nothing is computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_DRY: ContextVar[bool] = ContextVar("dry", default=False)


class _Nowhere:
    """In the place of a Triton kernel: takes a grid and arguments, and does nothing."""

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return lambda *args, **constants: None


_NOWHERE = _Nowhere()


@contextmanager
def dry_run() -> Iterator[None]:
    """Launch nothing in here."""
    token = _DRY.set(True)
    try:
        yield
    finally:
        _DRY.reset(token)


def launched(kernel: Any) -> Any:
    """A kernel to launch, or in a dry run one that does nothing."""
    return _NOWHERE if _DRY.get() else kernel
