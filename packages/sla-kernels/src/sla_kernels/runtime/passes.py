"""Where passes compiled by Numba run, see `sla_kernels.passes`."""

import functools
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from warnings import warn

import torch
from torch import Tensor

from sla_kernels.runtime.library import is_writing_out
from sla_kernels.runtime.products import product_type

TYPES = (torch.float32, torch.bfloat16)


def passes_for(*tokens: Tensor) -> ModuleType | None:
    """The passes, where they are compiled and can read such tokens, and all threads take part.

    They read tokens on a CPU, in the types that it multiplies them in, and are no operators of
    PyTorch, which a graph that is written out holds alone.
    """
    if is_writing_out() or not _installed() or not all(map(_reads, tokens)):
        return None
    passes = _passes()
    return passes if passes.is_whole() else None


@functools.cache
def _passes() -> ModuleType:
    return import_module("sla_kernels.passes.calls")


def _reads(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in TYPES and product_type(x) == x.dtype


@functools.cache
def _installed() -> bool:
    """Whether Numba is there and compiles; one that refuses, as beside a newer NumPy, is warned of.

    NUMBA_DISABLE_JIT, set to debug other code, leaves functions that no interpreter can run.
    """
    if find_spec("numba") is None:
        return False
    try:
        compiles: bool = not import_module("numba").config.DISABLE_JIT
    except ImportError as error:
        warn(f"Numba cannot be imported ({error}); PyTorch's operations run", stacklevel=2)
        return False
    return compiles
