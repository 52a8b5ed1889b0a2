"""Tensors as passes take them, without a copy, and who does which part of the work."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.runtime.grid import strided
from sla_kernels.runtime.team import shared, size
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.layout import Layout

LEAST = 4096  # tokens of all heads, for each thread: fewer are done as soon as they are shared


def flat(x: Tensor) -> np.ndarray:
    """All that lies between the first and the last number of x; bfloat16 as its bits."""
    steps = zip(x.shape, x.stride(), strict=True)
    line = x.detach().as_strided((1 + sum((size - 1) * step for size, step in steps),), (1,))
    if x.dtype == torch.bfloat16:
        return line.view(torch.int16).numpy().view(np.uint16)
    return line.numpy()


class Tokens:
    """Tokens in their order."""

    def __init__(self, x: Float[Tensor, "b h n d"], order: Int64[Tensor, "b free"]) -> None:
        x = strided(x)
        self.numbers, self.steps, self.heads = flat(x), x.stride(), x.shape[1]
        self.order = order.contiguous().numpy()

    def of(self, head: int) -> tuple[np.ndarray, int, int, np.ndarray]:
        """Those of a head, counted through scenes: numbers, where they start, step, and order."""
        scene, inner = divmod(head, self.heads)
        start = scene * self.steps[0] + inner * self.steps[1]
        return self.numbers, start, self.steps[2], self.order[scene]


def in_runs(heads: int, count: int, least: int, work: Callable[[int, int, int], None]) -> None:
    """Share the work on `count` things of each head: `work(head, first, end)`.

    Evenly, and in as few parts as may be, since each takes its turn in Python. The caller does all
    where there are fewer than `least` things for each thread: they are done as soon as shared, and
    other processes may keep a thread from coming.
    """
    threads = size()
    alone = heads * count < least * threads
    step = num_blocks(count, 1 if alone else threads // math.gcd(threads, heads))
    runs = num_blocks(count, step)

    def part(number: int) -> None:
        head, run = divmod(number, runs)
        work(head, run * step, min((run + 1) * step, count))

    if alone:
        for number in range(heads):
            part(number)
    else:
        shared(part, heads * runs)


def in_cells(heads: int, layout: Layout, work: Callable[[int, int, int], None]) -> None:
    """Share the work on the coarsest cells of each head."""
    top = len(layout.sizes) - 1
    in_runs(heads, layout.cells(top), max(1, LEAST // layout.sizes[top]), work)
