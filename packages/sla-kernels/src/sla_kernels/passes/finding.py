"""From tokens in order to lists of rows and tilts, see `sla_kernels.search`, step by step."""

from typing import NamedTuple, no_type_check

import numpy as np

from sla_kernels.passes.cells import average_cells, average_queries
from sla_kernels.passes.scalar import compiled
from sla_kernels.passes.walk import walk
from sla_kernels.passes.weights import score_tokens


class Asking(NamedTuple):
    """Who asks: blocks of queries, all heads in turn, by the means of their parts.

    - `parts`: mean queries times the scale, head by head; `means` are those of whole blocks.
    - `queries`: how many; `size` of them are a part, and `per_block` parts a block.
    - `pinned`: the keys of pinned tokens, by key head.
    """

    parts: np.ndarray  # heads parts d
    means: np.ndarray  # blocks d
    queries: int
    size: int
    per_block: int
    pinned: np.ndarray  # key_heads pinned d


class Cells(NamedTuple):
    """The cells of all sizes, the smallest first, by key head.

    - `logs`: of how many tokens each holds, minus infinity where there is none.
    - `spreads`: how far its keys spread times how far its values do.
    """

    sizes: np.ndarray
    firsts: np.ndarray  # by size
    keys: np.ndarray  # key_heads room d, flat but for the heads
    logs: np.ndarray  # room
    spreads: np.ndarray  # key_heads room


class Lists(NamedTuple):
    """What is written: lists of rows, and the mass left to each coarse cell.

    Lists begin with so many `pinned` rows, from row `first` on; of other tokens there are `tokens`.
    `coarse` exact blocks make a coarse cell. Row `nothing` stands for nothing.
    """

    rows: np.ndarray  # blocks listed
    left: np.ndarray  # blocks coarse
    pinned: int
    first: int
    tokens: int
    nothing: int
    coarse: int
    summaries: bool


@compiled
@no_type_check
def find(tokens, queries, asking, cells, steps, lists, tilts, scale, bounds, threads):
    """Write lists and tilts; `tokens` are keys and values, `queries` those in order.

    A row of `steps` is a step down from the coarsest size: where its cells stand, their first row,
    how many there are, how many are opened, and how many of the size below each of them holds.
    `bounds` are the least mass that is left to a cell, and how far below the largest of its cell a
    token counts at most.
    """
    average_queries(queries, asking, scale, threads)
    average_cells(tokens, cells, threads)
    walk(asking, cells, steps, lists, threads)
    score_tokens(tokens[0], asking, cells.sizes[-1], lists.left, tilts, scale, bounds, threads)
