"""The way of query blocks down from the coarsest cells to exact blocks, see `search.walk`."""

from typing import NamedTuple, no_type_check

import numpy as np

from sla_kernels.passes.mass import least_of, weigh
from sla_kernels.passes.scalar import body, compiled
from sla_kernels.passes.team import run_of, runs_of, shared

_BLOCK = 64  # tokens that a query block counts for where blocks are shared


class Asking(NamedTuple):
    """The queries, as `search.walk.Asking`; parts and rows have `width` numbers."""

    parts: np.ndarray  # blocks r d, flat
    pinned: np.ndarray  # blocks r
    head: np.ndarray  # blocks
    width: int


class Table(NamedTuple):
    """The cells of one size; every head has room for `room` of them.

    The first is row `first`; so many `exist`, `opened` are opened, and each holds `fanout` of the
    size below, or tokens.
    """

    keys: np.ndarray
    spread: np.ndarray
    logs: np.ndarray
    room: int
    first: int
    exist: int
    opened: int
    fanout: int


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


class Room(NamedTuple):
    """Room for the candidates of a block."""

    scores: np.ndarray  # 4 candidates
    mass: np.ndarray
    wrong: np.ndarray
    places: np.ndarray  # of those that are opened, and their cells
    cells: np.ndarray
    runs: np.ndarray  # of candidates, by the cell that held them


@compiled
@no_type_check
def walk(asking, tables, steps, most, lists, threads):
    """Write the lists of all blocks, in so many steps of at most so many candidates.

    `tables` are those of the steps, the coarsest first; what comes behind them is not read.
    """
    runs = runs_of(len(asking.head), _BLOCK)
    _walk_run(runs, threads, (asking, tables, steps, most, lists))


@shared
@no_type_check
def _walk_run(number, asking, tables, steps, most, lists):
    _, lo, hi = run_of(number, len(asking.head), _BLOCK)
    floats, whole = np.empty((5, most), np.float32), np.empty((4, most), np.int64)
    room = Room(floats[:4], floats[4], whole[0], whole[1], whole[2], whole[3])
    for block in range(lo, hi):
        _down(block, asking, tables, steps, lists, room)


@body
@no_type_check
def _down(block, asking, tables, steps, lists, room):
    """Write what a block lists, and leaves."""
    rows, at = lists.rows[block], lists.pinned
    for i in range(at):
        rows[i] = lists.first + i
    runs, fanout = room.runs[:1], tables[0].exist
    runs[0] = 0
    for level in range(steps):
        table = tables[level]
        total = len(runs) * fanout
        weigh(asking, block, table, runs, fanout, room)
        for c in range(total if level == 0 else 0):
            lists.left[block, c] = room.mass[c]
        least = least_of(room.wrong[:total], table.opened)
        stay = rows[at : at + (total - table.opened if lists.summaries else 0)]
        _split(room, least, runs, fanout, table, lists.nothing, stay)
        at += len(stay)
        runs, fanout = room.runs[: table.opened], table.fanout
        for i in range(table.opened):
            runs[i] = min(room.cells[i], table.exist)
    _name_tokens(room, tables[steps - 1], lists, rows[at:], lists.left[block])


@body
@no_type_check
def _split(room, least, runs, fanout, table, nothing, rows):
    """Open the candidates of which a summary gets at least `least` wrong; write rows of the others.

    Their places and cells are kept in `room`; `rows` may have no room for any.
    """
    taken, left = 0, 0
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            if room.wrong[c] >= least:
                room.places[taken], room.cells[taken] = c, cell
                taken += 1
            elif len(rows):
                rows[left] = table.first + cell if cell < table.exist else nothing
                left += 1


@body
@no_type_check
def _name_tokens(room, table, lists, rows, left):
    """Write the rows of the tokens in exact blocks, and take their mass from what is `left`."""
    size, last = table.fanout, len(left) - 1
    for i in range(table.opened):
        cell = room.cells[i]
        for inner in range(size):
            token = cell * size + inner
            rows[i * size + inner] = token if token < lists.tokens else lists.nothing
        left[min(cell // lists.coarse, last)] -= room.mass[room.places[i]]
