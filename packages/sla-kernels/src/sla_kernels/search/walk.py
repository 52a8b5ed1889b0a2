"""Which cells a block of queries opens, from the coarsest size down to exact blocks.

All coarse cells are scored; those where a summary would get most wrong are opened into the cells
they hold, these are scored in turn, and at last blocks of tokens remain, which are read exactly.
What is scored and not opened stays in the list as a summary. What a summary gets wrong is guessed
as the mass that the queries give the cell, times how far its keys and its values spread (compare
SVG-EAR, arXiv 2603.08982). Mass is normalized for each part of a query block before it is added up.

The cells of a size stand in one table for all heads, and the cells that a larger one holds stand
together, so that candidates, which differ from block to block, are gathered as whole runs. Behind
the cells of each head stand some that do not exist: the last cell of the larger size may hold fewer
than the others, and one more of that size holds none at all.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Int64
from torch import Tensor

from sla_kernels.order.sorting import split_largest
from sla_kernels.runtime.parts import at_once
from sla_kernels.summary.layout import Budget, Layout

PART = 16  # queries, at most, whose mean speaks for them when blocks are chosen
BATCH_BYTES = 2 << 20  # of gathered mean keys: what a core's cache holds beside other things


def part_of(block_q: int) -> int:
    """Queries in a part of a block, which is cut into equal ones: no part reaches into the next."""
    return max(size for size in range(1, min(PART, block_q) + 1) if block_q % size == 0)


class Asking(NamedTuple):
    """The queries, as means of parts of their blocks; blocks of all heads in turn.

    - `parts`: mean queries times the scale.
    - `pinned`: the log of the mass that each part gives to pinned tokens; plus infinity for a part
      without queries, whose share of everything else is then nothing.
    - `head`: the key head of each block, counted through scenes and heads.
    """

    parts: Float[Tensor, "blocks r d"]
    pinned: Float[Tensor, "blocks r 1"]
    head: Int64[Tensor, "blocks 1"]


class Cells(NamedTuple):
    """The cells of one size by key head, and behind those of each head some that do not exist.

    - `logs`: the log of how many tokens each holds, minus infinity where there is none.
    - `spread`: how far its keys spread times how far its values do.
    """

    keys: Float[Tensor, "heads cells_and_more d"]
    logs: Float[Tensor, " cells_and_more"]
    spread: Float[Tensor, "heads cells_and_more"]

    @classmethod
    def of(
        cls,
        keys: Float[Tensor, "b g cells d"],
        spread: Float[Tensor, "b g cells"],
        count: Float[Tensor, " cells"],
        more: int = 1,
    ) -> "Cells":
        """Put the cells of all scenes and heads into one table, `more` behind those of each."""
        return cls(
            F.pad(rearrange(keys, "b g c d -> (b g) c d"), (0, 0, 0, more)),
            logs_of(count, more),
            F.pad(rearrange(spread, "b g c -> (b g) c"), (0, more)),
        )

    def spread_of(
        self, runs: Int64[Tensor, "blocks n"], fanout: int, head: Int64[Tensor, "blocks 1"]
    ) -> Float[Tensor, "blocks c"]:
        """The spread of the cells in runs of `fanout`, of each block's own head."""
        table = rearrange(self.spread, "x (run f) -> (x run) f", f=fanout)
        rows = runs + head * (self.keys.shape[1] // fanout)
        return table.index_select(0, rows.flatten()).view(len(runs), -1)


def logs_of(count: Float[Tensor, " cells"], more: int) -> Float[Tensor, " cells_and_more"]:
    """The log of how many tokens each cell holds, and that of nothing for `more`."""
    return F.pad(count.log(), (0, more), value=-torch.inf)


class Found(NamedTuple):
    """Lists of rows, and the mass that each block leaves to the summaries of each coarse cell."""

    rows: Int[Tensor, "blocks listed"]
    left: Float[Tensor, "blocks coarse"]


def walk(
    asking: Asking, levels: list[Cells], layout: Layout, budget: Budget, *, summaries: bool
) -> Found:
    """Walk the cells down from the coarsest size."""
    top = len(layout.sizes) - 1
    at = torch.arange(layout.cells(top), device=asking.parts.device).expand(len(asking.head), -1)
    mass = left = _mass_of_all(asking, levels[top], layout.cells(top))
    spread = levels[top].spread[:, : layout.cells(top)].index_select(0, asking.head[:, 0])
    chosen, rest = _split(mass * spread, at, layout.cells(top), budget.chosen[top])
    rows = [_pinned_rows(layout, at)]
    for level in range(top, -1, -1):
        if summaries:
            rows.append(_rows(at.gather(1, rest), layout, level))
        opened = at.gather(1, chosen)
        if level:
            runs, fanout = opened.clamp_max(layout.cells(level)), layout.fanout(level)
            at, count = _inner(runs, fanout), budget.chosen[level - 1]
            exist, below = layout.cells(level - 1), levels[level - 1]
            mass = _mass(asking, below, runs, fanout)
            wrong = mass * below.spread_of(runs, fanout, asking.head)
            chosen, rest = _split(wrong, at, exist, count)
    parents = opened * layout.sizes[0] // layout.sizes[top]
    left = _less(left, parents.clamp_max(left.shape[1] - 1), mass.gather(1, chosen))
    rows.append(_tokens(opened, layout))
    return Found(torch.cat(rows, 1), left)


def log_mass(
    parts: Float[Tensor, "b h p d"], keys: Float[Tensor, "b h k d"]
) -> Float[Tensor, "b h p 1"]:
    """The log of the mass that each part gives to some keys."""
    return (parts @ keys.mT).logsumexp(3, keepdim=True)


def _mass_of_all(asking: Asking, cells: Cells, count: int) -> Float[Tensor, "blocks count"]:
    """The mass of every cell of a block's head; blocks of one key head stand together."""
    keys = rearrange(cells.keys[:, :count], "x c d -> x d c")
    parts = rearrange(asking.parts, "(x i) r d -> x (i r) d", x=len(keys))
    scores = torch.baddbmm(cells.logs[:count], parts, keys)
    return _shares(
        rearrange(scores, "x (i r) c -> (x i) r c", r=asking.parts.shape[1]), asking.pinned
    )


def _mass(
    asking: Asking, cells: Cells, runs: Int64[Tensor, "blocks n"], fanout: int
) -> Float[Tensor, "blocks c"]:
    """The mass of the candidates, runs of `fanout` cells, which differ from block to block."""
    mass = asking.parts.new_empty(len(runs), runs.shape[1] * fanout)
    keys = rearrange(cells.keys, "x (run f) d -> (x run) (f d)", f=fanout)
    logs = rearrange(cells.logs, "(run f) -> run f", f=fanout)
    first = asking.head * len(logs)
    for batch in _batches(runs, keys):
        rows = (runs[batch] + first[batch]).flatten()
        taken = keys.index_select(0, rows).view(-1, mass.shape[1], cells.keys.shape[2])
        bias = logs.index_select(0, runs[batch].flatten()).view(-1, 1, mass.shape[1])
        scores = torch.baddbmm(bias, asking.parts[batch], taken.mT)
        mass[batch] = _shares(scores, asking.pinned[batch])
    return mass


def _batches(runs: Int64[Tensor, "blocks n"], keys: Tensor) -> Iterator[slice]:
    """Runs of blocks whose keys take bounded memory; on a CPU they fit the cache."""
    each = runs.shape[1] * keys.shape[1] * keys.element_size()
    step = at_once(each, runs, BATCH_BYTES)
    return (slice(start, start + step) for start in range(0, len(runs), step))


def _less(
    left: Float[Tensor, "blocks coarse"],
    parents: Int64[Tensor, "blocks c"],
    mass: Float[Tensor, "blocks c"],
) -> Float[Tensor, "blocks coarse"]:
    """Take mass from coarse cells; on a GPU by sorting, since atomics add in any order."""
    if left.device.type == "cpu":
        return left.scatter_add(1, parents, -mass)
    rows = torch.arange(len(left), device=left.device)[:, None].expand_as(parents)
    return left.index_put((rows, parents), -mass, accumulate=True)


def _shares(scores: Float[Tensor, "i r c"], pinned: Float[Tensor, "i r 1"]) -> Float[Tensor, "i c"]:
    """Softmax over the candidates and the pinned tokens for each part, then summed over parts.

    Without the pinned tokens first: the largest share of that softmax says how large its sum was.
    """
    alone = scores.softmax(-1)
    total = scores.amax(-1, keepdim=True) - alone.amax(-1, keepdim=True).log()
    of_candidates = rearrange((total - pinned).sigmoid(), "i r 1 -> i 1 r")
    return rearrange(of_candidates @ alone, "i 1 c -> i c")


def _split(
    wrong: Float[Tensor, "blocks c"], at: Int64[Tensor, "blocks c"], count: int, chosen: int
) -> tuple[Int64[Tensor, "blocks chosen"], Int64[Tensor, "blocks rest"]]:
    """Which candidates are opened, and which stay, in ascending order; `count` of all exist."""
    total = wrong.shape[1]
    if chosen == total:
        numbers = torch.arange(total, device=wrong.device).expand_as(at)
        return numbers, numbers[:, :0]
    return split_largest(torch.where(at < count, wrong.nan_to_num(0, 0, 0), -1), chosen)


def _rows(at: Int64[Tensor, "blocks c"], layout: Layout, level: int) -> Int64[Tensor, "blocks c"]:
    """The rows of cells, see `Layout`."""
    return torch.where(at < layout.cells(level), at + layout.first(level), layout.nothing)


def _tokens(at: Int64[Tensor, "blocks c"], layout: Layout) -> Int64[Tensor, "blocks tokens"]:
    """The rows of the tokens that exact blocks hold."""
    held = _inner(at, layout.sizes[0])
    return torch.where(held < layout.tokens, held, layout.nothing)


def _inner(cells: Int64[Tensor, "i c"], fanout: int) -> Int64[Tensor, "i n"]:
    inner = torch.arange(fanout, device=cells.device)
    return rearrange(cells[:, :, None] * fanout + inner, "i c f -> i (c f)")


def _pinned_rows(layout: Layout, like: Int64[Tensor, "blocks c"]) -> Int64[Tensor, "blocks p"]:
    first = layout.first(len(layout.sizes))
    rows = torch.arange(first, first + layout.pinned, device=like.device)
    return rows.expand(len(like), -1)
