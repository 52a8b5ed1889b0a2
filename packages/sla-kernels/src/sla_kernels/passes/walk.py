"""The way of query blocks down from the coarsest cells to exact blocks, see `search.walk`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sla_kernels.passes import mass
from sla_kernels.passes.tokens import flat, in_runs
from sla_kernels.summary.layout import Budget, Layout

BLOCKS = 64  # of queries, for each thread: fewer are done as soon as they are shared
AT_ONCE = 256  # of them, whose candidates are held at a time


class Opened(NamedTuple):
    """What some blocks open of their candidates: places, cells, and the mass of all candidates."""

    places: np.ndarray
    cells: np.ndarray
    mass: np.ndarray


def walked(
    parts: Float[Tensor, "blocks r d"],
    pinned: Float[Tensor, "blocks r 1"],
    head: Int64[Tensor, "blocks 1"],
    levels: Sequence[tuple[Tensor, Tensor, Tensor]],
    layout: Layout,
    budget: Budget,
    *,
    summaries: bool,
) -> tuple[Int32[Tensor, "blocks listed"], Float[Tensor, "blocks coarse"]]:
    """Lists of rows, and the mass that each block leaves to the summaries of each coarse cell."""
    blocks, top = len(parts), len(layout.sizes) - 1
    rows = torch.empty(blocks, budget.listed(layout, summaries), dtype=torch.int32, device="cpu")
    left = torch.empty(blocks, layout.cells(top), dtype=torch.float32, device="cpu")
    asking = _Asking(parts.flatten(1).numpy(), pinned.flatten(1).numpy(), head.flatten().numpy())
    tables = [_Table(flat(k), flat(s), x.numpy(), s.stride(0)) for k, x, s in levels]
    walk = _Walk(asking, tables, layout, budget, summaries, parts.shape[2])

    def work(_: int, lo: int, hi: int) -> None:
        for start in range(lo, hi, AT_ONCE):
            here = slice(start, min(start + AT_ONCE, hi))
            walk.down(here, rows.numpy()[here], left.numpy()[here])

    in_runs(1, blocks, BLOCKS, work)
    return rows, left


class _Table(NamedTuple):
    """The cells of one size; every head has room for `room` of them."""

    keys: np.ndarray
    spread: np.ndarray
    logs: np.ndarray
    room: int


class _Asking(NamedTuple):
    """The queries, as `search.walk.Asking`."""

    parts: np.ndarray  # blocks (r d)
    pinned: np.ndarray  # blocks r
    head: np.ndarray  # blocks


class _Walk(NamedTuple):
    """Who asks, and what all blocks have in common."""

    asking: _Asking
    tables: list[_Table]
    layout: Layout
    budget: Budget
    summaries: bool
    width: int

    def down(self, here: slice, rows: np.ndarray, left: np.ndarray) -> None:
        """Write what some blocks list, and leave."""
        layout, at, top = self.layout, self.layout.pinned, len(self.layout.sizes) - 1
        rows[:, :at] = np.arange(at) + layout.first(top + 1)
        runs, fanout = np.zeros((len(rows), 1), np.int64), layout.cells(top)
        for level in range(top, -1, -1):
            stay = runs.shape[1] * fanout - self.budget.chosen[level] if self.summaries else 0
            found = self._open(here, level, runs, fanout, rows[:, at : at + stay])
            if level == top:
                left[:] = found.mass
            at += stay
            runs, fanout = np.minimum(found.cells, layout.cells(level)), layout.fanout(level)
        size, coarse = layout.sizes[0], layout.sizes[top] // layout.sizes[0]
        mass.name_tokens(*found, size, layout.tokens, layout.nothing, rows[:, at:], left, coarse)

    def _open(
        self, here: slice, level: int, runs: np.ndarray, fanout: int, rows: np.ndarray
    ) -> Opened:
        """Weigh the candidates of a level, runs of `fanout` cells, and write those that stay."""
        blocks, total, count = len(runs), runs.shape[1] * fanout, self.budget.chosen[level]
        layout, table, r = self.layout, self.tables[level], self.asking.pinned.shape[1]
        found, wrong = (np.empty((blocks, total), kind) for kind in (np.float32, np.int64))
        asking = (x[here].reshape(-1) for x in self.asking)
        mass.weigh(*asking, *table, runs, fanout, found, wrong, r, self.width)
        least = np.partition(wrong, total - count, axis=1)[:, total - count].copy()
        places, cells = (np.empty((blocks, count), np.int64) for _ in range(2))
        named = (layout.first(level), layout.cells(level), layout.nothing)
        mass.split(wrong, least, runs, fanout, *named, places, cells, rows)
        return Opened(places, cells, found)
