"""Triton where it is installed, and otherwise names that let the kernel file be imported."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

jit: Callable[[Any], Any]
tl: Any
try:
    import triton
    import triton.language
except ImportError:
    INSTALLED = False
    jit, tl = (lambda function: function), SimpleNamespace(constexpr=object)
else:
    INSTALLED = True
    jit, tl = triton.jit, triton.language


def next_power(width: int) -> int:
    """The smallest power of two that is at least `width`."""
    return 1 << max(0, width - 1).bit_length()
