"""Which cells a block of queries opens, from the coarsest size down to exact blocks.

All coarse cells are scored; those where a summary would get most wrong are opened into the cells
they hold, these are scored in turn, and at last blocks of tokens remain, which are read exactly.
What is scored and not opened stays in the list as a summary. What a summary gets wrong is guessed
as the mass that the queries give the cell, times how far its keys and its values spread (compare
SVG-EAR, arXiv 2603.08982). Mass is normalized for each part of a query block before it is added up.
"""

from typing import NamedTuple

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sla_kernels.summary.cells import counts
from sla_kernels.summary.layout import Budget, Layout


class Asking(NamedTuple):
    """The queries, as means of parts of their blocks.

    - `parts`: mean queries, `b h query_blocks part d`, times the scale.
    - `pinned`: the log of the mass that each part gives to pinned tokens; plus infinity for a part
      without queries, whose share of everything else is then nothing.
    """

    parts: Float[Tensor, "b h i r d"]
    pinned: Float[Tensor, "b h i r 1"]


class Cells(NamedTuple):
    """Mean keys and spreads of the cells of every size, for each query head."""

    keys: list[Float[Tensor, "b h cells d"]]
    spreads: list[Float[Tensor, "b h cells"]]


class Found(NamedTuple):
    """Lists of rows, and the mass that each block leaves to the summaries of each coarse cell."""

    rows: Int64[Tensor, "b h i listed"]
    left: Float[Tensor, "b h i cells"]


class _Candidates(NamedTuple):
    """Cells of one size to choose from, and which of them exist."""

    cells: Int64[Tensor, "b h i c"]
    real: Bool[Tensor, "b h i c"]


def walk(asking: Asking, cells: Cells, layout: Layout, budget: Budget, *, summaries: bool) -> Found:
    """Walk the cells down from the coarsest size."""
    top = len(layout.sizes) - 1
    shape = asking.parts.shape[:3]
    first = torch.arange(layout.cells(top), device=asking.parts.device)
    first = first.expand(*shape, -1)
    at = _Candidates(first, torch.ones_like(first, dtype=torch.bool))
    mass = left = _mass_of_all(asking, cells.keys[top], counts(layout, top, asking.parts))
    rows = [_pinned_rows(layout, first)]
    for level in range(top, -1, -1):
        if level < top:
            mass = _mass(asking, cells.keys[level], at, counts(layout, level, asking.parts))
        chosen, rest = _split(
            mass * _taken(cells.spreads[level], at), at, budget.chosen(layout, level)
        )
        if summaries:
            rows.append(_rows_of_rest(at, rest, layout.first(level), layout.nothing))
        if level == 0:
            parents = at.cells.gather(3, chosen) * layout.sizes[0] // layout.sizes[top]
            read = mass.gather(3, chosen) * at.real.gather(3, chosen)
            left = left.scatter_add(3, parents, -read)
        at = _opened(at, chosen, layout, level)
    rows.append(torch.where(at.real, at.cells, layout.nothing))
    return Found(torch.cat(rows, 3), left)


def log_mass(
    parts: Float[Tensor, "b h i r d"], keys: Float[Tensor, "b h p d"]
) -> Float[Tensor, "b h i r 1"]:
    """The log of the mass that each part gives to some keys."""
    flat = rearrange(parts, "b h i r d -> b h (i r) d")
    return rearrange((flat @ keys.mT).logsumexp(3), "b h (i r) -> b h i r 1", r=parts.shape[3])


def _mass_of_all(
    asking: Asking, keys: Float[Tensor, "b h c d"], sizes: Float[Tensor, " c"]
) -> Float[Tensor, "b h i c"]:
    flat = rearrange(asking.parts, "b h i r d -> b h (i r) d")
    scores = rearrange(flat @ keys.mT, "b h (i r) c -> b h i r c", r=asking.parts.shape[3])
    return _shares(asking, scores + sizes.log())


def _mass(
    asking: Asking, keys: Float[Tensor, "b h n d"], at: _Candidates, sizes: Float[Tensor, " n"]
) -> Float[Tensor, "b h i c"]:
    """The mass of the candidates, which differ from block to block."""
    d, wide = keys.shape[3], at.cells.shape[3]
    flat = rearrange(at.cells, "b h i c -> b h (i c)")
    taken = keys.gather(2, repeat(flat, "b h n -> b h n d", d=d))
    taken = rearrange(taken, "b h (i c) d -> b h i c d", c=wide)
    logs = torch.where(at.real, sizes.log()[at.cells], -torch.inf)
    return _shares(asking, asking.parts @ taken.mT + rearrange(logs, "b h i c -> b h i 1 c"))


def _shares(asking: Asking, scores: Float[Tensor, "b h i r c"]) -> Float[Tensor, "b h i c"]:
    """Softmax over the candidates and the pinned tokens for each part, then summed over parts."""
    total = torch.logaddexp(scores.logsumexp(-1, keepdim=True), asking.pinned)
    return reduce((scores - total).exp(), "b h i r c -> b h i c", "sum")


def _taken(spreads: Float[Tensor, "b h n"], at: _Candidates) -> Float[Tensor, "b h i c"]:
    flat = rearrange(at.cells, "b h i c -> b h (i c)")
    return spreads.gather(2, flat).reshape(at.cells.shape)


def _split(
    wrong: Float[Tensor, "b h i c"], at: _Candidates, chosen: int
) -> tuple[Int64[Tensor, "b h i chosen"], Int64[Tensor, "b h i rest"]]:
    """Which candidates are opened, and which stay, in ascending order."""
    total = wrong.shape[3]
    numbers = torch.arange(total, device=wrong.device)
    if chosen == total:
        return numbers.expand_as(wrong), numbers[:0].expand(*wrong.shape[:3], 0)
    wrong = torch.where(at.real, wrong.nan_to_num(0, 0, 0), -1)
    best = wrong.topk(chosen, dim=3, sorted=False).indices
    out = torch.ones_like(wrong, dtype=torch.bool).scatter(3, best, False)
    place = torch.where(out, out.cumsum(3) - 1, total - chosen)
    stay = wrong.new_empty((*wrong.shape[:3], total - chosen + 1), dtype=torch.int64)
    stay = stay.scatter(3, place, numbers.expand_as(wrong))
    return best, stay[..., :-1]


def _rows_of_rest(
    at: _Candidates, rest: Int64[Tensor, "b h i rest"], first: int, nothing: int
) -> Int64[Tensor, "b h i rest"]:
    rows = at.cells.gather(3, rest) + first
    return torch.where(at.real.gather(3, rest), rows, nothing)


def _opened(
    at: _Candidates, chosen: Int64[Tensor, "b h i c"], layout: Layout, level: int
) -> _Candidates:
    """What the chosen cells hold: cells of the size below, or tokens."""
    fanout, below = layout.fanout(level), layout.cells(level - 1) if level else layout.tokens
    inner = torch.arange(fanout, device=chosen.device)
    held = rearrange(at.cells.gather(3, chosen) * fanout, "b h i c -> b h i c 1") + inner
    real = (held < below) & rearrange(at.real.gather(3, chosen), "b h i c -> b h i c 1")
    held, real = (rearrange(x, "b h i c f -> b h i (c f)") for x in (held, real))
    return _Candidates(held.clamp_max(below - 1), real)


def _pinned_rows(layout: Layout, like: Int64[Tensor, "b h i c"]) -> Int64[Tensor, "b h i p"]:
    first = layout.first(len(layout.sizes))
    rows = torch.arange(first, first + layout.pinned, device=like.device)
    return rows.expand(*like.shape[:3], -1)
