"""Run an operator without its kernels: every tensor is made, and nothing is computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

_DRY: ContextVar[bool] = ContextVar("dry", default=False)
_LIBRARY = torch.library.Library("sla_kernels", "FRAGMENT")
_LIBRARY.define("launch(str kernel, Tensor[] tensors, int[] lengths) -> ()")
_LIBRARY.impl("launch", lambda *_: None, "CompositeExplicitAutograd")


class _Nowhere:
    """In the place of a Triton kernel: does nothing but call `torch.ops.sla_kernels.launch`.

    That operator does nothing either: it tells those who count which kernel takes which tensors
    and lengths.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self._launch

    def _launch(self, *args: object, **constants: object) -> None:
        tensors = [x for x in args if isinstance(x, Tensor)]
        lengths = [x for x in args if isinstance(x, int)]
        torch.ops.sla_kernels.launch(self.name.partition(":")[2], tensors, lengths)


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
    return _Nowhere(name) if _DRY.get() else _kernel(name)


@cache
def _kernel(name: str) -> Any:
    return resolve_name(f"sla_kernels.{name}")
