"""Which cells a block of queries opens, from the coarsest size down to exact blocks.

All coarse cells are scored; those where a summary would get most wrong are opened into the cells
they hold, these are scored in turn, and at last blocks of tokens remain, which are read exactly.
What is scored and not opened stays in the list as a summary. What a summary gets wrong is guessed
as the mass that the queries give the cell, times how far its keys and its values spread (compare
SVG-EAR, arXiv 2603.08982). Mass is normalized for each part of a query block before it is added up.

The cells of a size stand in one table for all heads, so that candidates, which differ from block to
block, are gathered as whole rows; the last row of each head is a cell that does not exist.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.runtime.sorting import split_largest
from sla_kernels.summary.layout import Budget, Layout

BATCH_BYTES = 2 << 20  # of gathered mean keys: what a core's cache holds beside other things
ACCELERATOR_BYTES = 256 << 20  # of the same elsewhere, where few launches matter more


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
    """The cells of one size by key head, and behind those of each head one that does not exist.

    - `logs`: the log of how many tokens each holds, minus infinity for the last.
    - `spread`: how far its keys spread times how far its values do.
    """

    keys: Float[Tensor, "heads cells_and_one d"]
    logs: Float[Tensor, " cells_and_one"]
    spread: Float[Tensor, "heads cells_and_one"]

    @classmethod
    def of(
        cls,
        keys: Float[Tensor, "b g cells d"],
        spread: Float[Tensor, "b g cells"],
        count: Float[Tensor, " cells"],
    ) -> "Cells":
        """Put the cells of all scenes and heads into one table."""
        return cls(
            F.pad(rearrange(keys, "b g c d -> (b g) c d"), (0, 0, 0, 1)),
            F.pad(count.log(), (0, 1), value=-torch.inf),
            F.pad(rearrange(spread, "b g c -> (b g) c"), (0, 1)),
        )

    @property
    def missing(self) -> int:
        """The number of the cell that does not exist."""
        return self.keys.shape[1] - 1

    def rows(self, at: Int64[Tensor, "blocks c"], head: Tensor) -> Int64[Tensor, "blocks c"]:
        """Where the cells of each block's own head stand in tables of all heads."""
        return at + head * self.keys.shape[1]


class Found(NamedTuple):
    """Lists of rows, and the mass that each block leaves to the summaries of each coarse cell."""

    rows: Int64[Tensor, "blocks listed"]
    left: Float[Tensor, "blocks coarse"]


def walk(
    asking: Asking, levels: list[Cells], layout: Layout, budget: Budget, *, summaries: bool
) -> Found:
    """Walk the cells down from the coarsest size."""
    top = len(layout.sizes) - 1
    at = torch.arange(layout.cells(top), device=asking.parts.device).expand(len(asking.head), -1)
    mass = left = _mass_of_all(asking, levels[top])
    rows = [_pinned_rows(layout, at)]
    for level in range(top, -1, -1):
        cells = levels[level]
        if level < top:
            mass = _mass(asking, cells, at)
        spread = cells.spread.flatten()[cells.rows(at, asking.head)]
        chosen, rest = _split(mass * spread, at, cells, budget.chosen(layout, level))
        if summaries:
            rows.append(_rows(at.gather(1, rest), cells, layout, level))
        opened = at.gather(1, chosen)
        if level == 0:
            parents = opened * layout.sizes[0] // layout.sizes[top]
            left = _less(left, parents.clamp_max(left.shape[1] - 1), mass.gather(1, chosen))
        else:
            at = _held(opened, layout, level)
    rows.append(_tokens(opened, layout))
    return Found(torch.cat(rows, 1), left)


def log_mass(
    parts: Float[Tensor, "b h p d"], keys: Float[Tensor, "b h k d"]
) -> Float[Tensor, "b h p 1"]:
    """The log of the mass that each part gives to some keys."""
    return (parts @ keys.mT).logsumexp(3, keepdim=True)


def _mass_of_all(asking: Asking, cells: Cells) -> Float[Tensor, "blocks count"]:
    """The mass of every cell of a block's head; blocks of one key head stand together."""
    keys = rearrange(cells.keys[:, :-1], "x c d -> x d c")
    parts = rearrange(asking.parts, "(x i) r d -> x (i r) d", x=len(keys))
    scores = torch.baddbmm(cells.logs[:-1], parts, keys)
    return _shares(
        rearrange(scores, "x (i r) c -> (x i) r c", r=asking.parts.shape[1]), asking.pinned
    )


def _mass(asking: Asking, cells: Cells, at: Int64[Tensor, "blocks c"]) -> Float[Tensor, "blocks c"]:
    """The mass of the candidates, which differ from block to block."""
    mass = asking.parts.new_empty(at.shape)
    keys = rearrange(cells.keys, "x c d -> (x c) d")
    for batch in _batches(at, keys):
        rows = cells.rows(at[batch], asking.head[batch]).flatten()
        taken = rearrange(keys.index_select(0, rows), "(i c) d -> i d c", c=at.shape[1])
        logs = rearrange(cells.logs[at[batch]], "i c -> i 1 c")
        scores = torch.baddbmm(logs, asking.parts[batch], taken)
        mass[batch] = _shares(scores, asking.pinned[batch])
    return mass


def _batches(at: Int64[Tensor, "blocks c"], keys: Tensor) -> Iterator[slice]:
    """Runs of blocks whose keys take bounded memory; on a CPU they fit the cache."""
    each = at.shape[1] * keys.shape[1] * keys.element_size()
    step = max(1, (BATCH_BYTES if at.device.type == "cpu" else ACCELERATOR_BYTES) // each)
    return (slice(start, start + step) for start in range(0, len(at), step))


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

    Overwrites the scores.
    """
    top = scores.amax(-1, keepdim=True)
    masses = scores.sub_(top).exp_()
    total = masses.sum(-1, keepdim=True) + (pinned - top).exp()
    return rearrange(rearrange(1 / total, "i r 1 -> i 1 r") @ masses, "i 1 c -> i c")


def _split(
    wrong: Float[Tensor, "blocks c"], at: Int64[Tensor, "blocks c"], cells: Cells, chosen: int
) -> tuple[Int64[Tensor, "blocks chosen"], Int64[Tensor, "blocks rest"]]:
    """Which candidates are opened, and which stay, in ascending order."""
    total = wrong.shape[1]
    if chosen == total:
        numbers = torch.arange(total, device=wrong.device).expand_as(at)
        return numbers, numbers[:, :0]
    wrong = torch.where(at == cells.missing, -1, wrong.nan_to_num(0, 0, 0))
    return split_largest(wrong, chosen)


def _rows(
    at: Int64[Tensor, "blocks c"], cells: Cells, layout: Layout, level: int
) -> Int64[Tensor, "blocks c"]:
    """The rows of cells, see `Layout`."""
    return torch.where(at == cells.missing, layout.nothing, at + layout.first(level))


def _held(
    at: Int64[Tensor, "blocks c"], layout: Layout, level: int
) -> Int64[Tensor, "blocks more"]:
    """The cells of the size below that some cells hold; a cell that does not exist holds none."""
    return _inner(at, layout.fanout(level)).clamp_max_(layout.cells(level - 1))


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
