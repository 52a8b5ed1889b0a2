"""The way of query blocks down from the coarsest cells to exact blocks, see `search.walk`."""

from typing import NamedTuple, no_type_check

import numpy as np

from sla_kernels.passes.mass import least_of, weigh
from sla_kernels.passes.scalar import body, part
from sla_kernels.passes.team import run_of, runs_of, shared

_BLOCK = 64  # tokens that a query block counts for where blocks are shared


class Room(NamedTuple):
    """Room for the candidates of a block."""

    scores: np.ndarray  # 4 candidates
    mass: np.ndarray
    wrong: np.ndarray
    places: np.ndarray  # of those that are opened, and their cells
    cells: np.ndarray
    runs: np.ndarray  # of candidates, by the cell that held them


@part
@no_type_check
def walk(asking, cells, steps, lists, threads):
    """Write the lists of all blocks, and what they leave."""
    most = steps[0, 2]
    for step in range(len(steps)):
        most = max(most, steps[step, 3] * steps[step, 4])
    _walk(runs_of(len(lists.rows), _BLOCK), threads, (asking, cells, steps, most, lists))


@shared
@no_type_check
def _walk(run, asking, cells, steps, most, lists):
    _, lo, hi = run_of(run, len(lists.rows), _BLOCK)
    floats, whole = np.empty((5, most), np.float32), np.empty((4, most), np.int64)
    room = Room(floats[:4], floats[4], whole[0], whole[1], whole[2], whole[3])
    for block in range(lo, hi):
        _average(block, asking)
        _down(block, asking, cells, steps, lists, room)


@body
@no_type_check
def _average(block, asking):
    """The mean of a block's parts, those without queries too, which are zero."""
    head, first = divmod(block * asking.per_block, asking.parts.shape[1])
    made, share = asking.means[block], np.float32(1) / np.float32(asking.per_block)
    made[:] = 0
    for one in range(first, first + asking.per_block):
        for j in range(len(made)):
            made[j] += asking.parts[head, one, j] * share


@body
@no_type_check
def _down(block, asking, cells, steps, lists, room):
    """Write what a block lists, and leaves."""
    rows, at = lists.rows[block], lists.pinned
    for i in range(at):
        rows[i] = lists.first + i
    runs, fanout = room.runs[:1], steps[0, 2]
    runs[0] = 0
    for step in range(len(steps)):
        place, first, exist, opened, inner = steps[step]
        total = len(runs) * fanout
        weigh(block, asking, cells, place, runs, fanout, room)
        for c in range(total if step == 0 else 0):
            lists.left[block, c] = room.mass[c]
        stay = rows[at : at + (total - opened if lists.summaries else 0)]
        least = least_of(room.wrong[:total], opened)
        _split(room, least, runs, fanout, (first, exist, lists.nothing), stay)
        at += len(stay)
        runs, fanout = room.runs[:opened], inner
        for i in range(opened):
            runs[i] = min(room.cells[i], exist)
    _name_tokens(room, opened, inner, lists, rows[at:], lists.left[block])


@body
@no_type_check
def _split(room, least, runs, fanout, named, rows):
    """Open the candidates of which a summary gets at least `least` wrong; write rows of the others.

    Their places and cells are kept in `room`; `rows` may have no room for any.
    """
    taken, left, (first, exist, nothing) = 0, 0, named
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            if room.wrong[c] >= least:
                room.places[taken], room.cells[taken] = c, cell
                taken += 1
            elif len(rows):
                rows[left] = first + cell if cell < exist else nothing
                left += 1


@body
@no_type_check
def _name_tokens(room, opened, size, lists, rows, left):
    """Write the rows of the tokens in exact blocks, and take their mass from what is `left`."""
    last = len(left) - 1
    for i in range(opened):
        cell = room.cells[i]
        for inner in range(size):
            token = cell * size + inner
            rows[i * size + inner] = token if token < lists.tokens else lists.nothing
        left[min(cell // lists.coarse, last)] -= room.mass[room.places[i]]
