"""Run an operator without its kernels: every tensor is made, and nothing is computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pkgutil import resolve_name
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


def launched(name: str) -> Any:
    """This package's kernel "module:name", to launch; in a dry run one that does nothing.

    A dry run needs no Triton.
    """
    return _NOWHERE if _DRY.get() else _kernel(name)


@cache
def _kernel(name: str) -> Any:
    return resolve_name(f"sla_kernels.{name}")
