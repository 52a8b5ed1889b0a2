"""Tensors as passes take them, without a copy."""

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.runtime.grid import strided


class Tokens(NamedTuple):
    """Tokens `b h n d` in their order, by head counted through scenes.

    - `numbers`: all that lies between the first and the last of them.
    - `starts`: where each head begins; its tokens are `step` apart.
    - `orders`: the positions of each scene's tokens in their order.
    """

    numbers: np.ndarray
    starts: np.ndarray
    step: int
    orders: np.ndarray

    @classmethod
    def of(cls, x: Float[Tensor, "b h n d"], order: Int64[Tensor, "b free"]) -> "Tokens":
        """Those of x; what is written to them is written to x, if its rows are whole."""
        x = strided(x)
        starts = _starts(x.shape[0], x.shape[1], x.stride(0), x.stride(1))
        return cls(flat(x), starts, x.stride(2), order.contiguous().numpy())


@functools.lru_cache(maxsize=128)
def _starts(scenes: int, heads: int, scene: int, head: int) -> np.ndarray:
    """Where each head begins, scenes and heads so far apart."""
    return (np.arange(scenes)[:, None] * scene + np.arange(heads) * head).ravel()


def flat(x: Tensor) -> np.ndarray:
    """All that lies between the first and the last number of x; bfloat16 as its bits."""
    steps = zip(x.shape, x.stride(), strict=True)
    line = x.detach().as_strided((1 + sum((size - 1) * step for size, step in steps),), (1,))
    if x.dtype == torch.bfloat16:
        return line.view(torch.int16).numpy().view(np.uint16)
    return line.numpy()
