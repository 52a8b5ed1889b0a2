"""Where an order cuts: segments halved until each is one cell, sizes in whole cells.

Segments are cut in whole cells of the coarsest size first, then of the next, so that every cell of
every size is a run of the order and lies inside one cell of each larger size. Only the last cell of
a size may be short. The cuts depend on the number of tokens alone: they are made once and kept.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

Segment = tuple[int, int]  # the first place, and that behind the last


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One step: every segment, as a row of places padded to the longest.

    - `places`: places in the order as it is before this step; padding repeats the first.
    - `inside`: False on padding; None where no segment needs any.
    - `kept`: the flat entries of `places` that are no padding, or None.
    """

    places: Int64[Tensor, "segments width"]
    inside: Bool[Tensor, "segments width"] | None
    kept: Int64[Tensor, " n"] | None


@functools.lru_cache(maxsize=128)
def cuts(tokens: int, sizes: tuple[int, ...], device: torch.device) -> tuple[Cut, ...]:
    """The steps that bring `tokens` to cells of all `sizes`, each a multiple of the one before."""
    return tuple(_cut(segments, device) for segments in halvings(tokens, sizes))


def halvings(tokens: int, sizes: tuple[int, ...]) -> list[list[Segment]]:
    """The segments before each step."""
    segments, steps = [(0, tokens)], []
    for size in reversed(sizes):
        while max(end - start for start, end in segments) > size:
            steps.append(segments)
            segments = [part for segment in segments for part in _halves(*segment, size)]
    return steps


def _halves(start: int, end: int, size: int) -> list[Segment]:
    """Two parts of a segment, the first one not smaller, both in whole cells but for the end."""
    cells = -(-(end - start) // size)
    if cells < 2:
        return [(start, end)]
    middle = start + (cells + 1) // 2 * size
    return [(start, middle), (middle, end)]


def _cut(segments: list[Segment], device: torch.device) -> Cut:
    starts, ends = torch.tensor(segments, device="cpu").T[:, :, None]
    places = starts + torch.arange(int((ends - starts).max()), device="cpu")
    inside = places < ends
    if bool(inside.all()):
        return Cut(places=places.to(device), inside=None, kept=None)
    kept = inside.flatten().nonzero()[:, 0]
    places = torch.where(inside, places, starts)
    return Cut(places=places.to(device), inside=inside.to(device), kept=kept.to(device))
