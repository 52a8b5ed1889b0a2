"""In which parts a CPU works: what it makes on the way then stays in its cache and is reused.

Other devices work on as much as launches need to count little, and graphs that are traced on
everything at once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

HEAD_BYTES = 5 << 20  # of the keys of heads that are worked on together, in float32
RUN_BYTES = 1 << 20  # of tokens that are summed at a time, in float32
ACCELERATOR_BYTES = 256 << 20  # of what is gathered at a time where few launches matter more
_FLOAT32 = 4


class Heads(NamedTuple):
    """Some heads of keys and values, and the heads of queries that attend them."""

    keys: slice
    queries: slice


def at_once(each: int, x: Tensor, cache: int) -> int:
    """How many things of `each` bytes are worked on together where x lies, at least one.

    - `cache`: the bytes that a CPU takes at a time.
    """
    return max(1, (cache if x.device.type == "cpu" else ACCELERATOR_BYTES) // each)


def by_heads(q: Tensor, k: Tensor, most: int = HEAD_BYTES) -> list[Heads]:
    """Heads of queries `b h n d` and keys `b g m d` that are worked on together, in order.

    Keys of heads that are together take at most so many bytes in float32, or are of one head.
    """
    heads, group = k.shape[1], q.shape[1] // k.shape[1]
    step = heads
    if _cached(k):
        step = max(1, most // (_FLOAT32 * k.shape[0] * k.shape[2] * k.shape[3]))
    ends = [(start, min(start + step, heads)) for start in range(0, heads, step)]
    return [Heads(slice(a, z), slice(a * group, z * group)) for a, z in ends]


def by_cells(x: Tensor, size: int) -> list[slice]:
    """Cells of `size` tokens of `b h n c` that are summed together, in order."""
    cells = x.shape[2] // size
    if not _cached(x):
        return [slice(0, cells)]
    each = _FLOAT32 * x.shape[0] * x.shape[1] * x.shape[3] * size
    step = max(1, RUN_BYTES // each)
    return [slice(start, min(start + step, cells)) for start in range(0, cells, step)]


def _cached(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
