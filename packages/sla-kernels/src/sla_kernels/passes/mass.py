"""The mass that a block of queries gives to cells, see `sla_kernels.search.walk`."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import body, packed, power


@body
@no_type_check
def weigh(asking, block, table, runs, fanout, room):
    """Weigh a block's candidates, runs of `fanout` cells each.

    Of `room` the mass becomes what the block gives to each, and `wrong` that times its spread,
    packed with the candidate's place, below all others where there is no cell.
    """
    r, d, first_key = asking.pinned.shape[1], asking.width, asking.head[block] * table.room
    total, scores, mass, wrong = len(runs) * fanout, room.scores, room.mass, room.wrong
    mass[:total] = 0
    for first in range(0, r, 4):
        some = min(r - first, 4)
        at = (block * r + first) * d
        _score(asking.parts, at, table, first_key, runs, fanout, scores, some, d)
        for piece in range(some):
            limit = asking.pinned[block, first + piece]
            if limit < np.inf:
                _add_shares(scores[piece, :total], limit, mass[:total])
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            found = mass[c] * table.spread[first_key + cell]
            found = found if np.abs(found) < np.inf else np.float32(0)
            wrong[c] = packed(found if table.logs[cell] > -np.inf else np.float32(-1), c)


@body
@no_type_check
def _score(parts, at, table, first, runs, fanout, scores, some, d):
    """Score a block's candidates for up to four parts of it at once."""
    second, third = at + min(1, some - 1) * d, at + min(2, some - 1) * d
    fourth, keys = at + (some - 1) * d, table.keys
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            source, log = (first + cell) * d, table.logs[cell]
            w, x, y, z = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for j in range(d):
                key = keys[np.uint64(source + j)]
                w += parts[np.uint64(at + j)] * key
                x += parts[np.uint64(second + j)] * key
                y += parts[np.uint64(third + j)] * key
                z += parts[np.uint64(fourth + j)] * key
            scores[0, c], scores[1, c] = w + log, x + log
            scores[2, c], scores[3, c] = y + log, z + log


@body
@no_type_check
def _add_shares(scores, limit, mass):
    """Add the softmax over candidates and pinned tokens, whose log mass is `limit`."""
    top = limit
    for c in range(len(scores)):
        top = max(top, scores[c])
    total = power(limit - top)
    for c in range(len(scores)):
        scores[c] = power(scores[c] - top)
        total += scores[c]
    share = np.float32(1) / total
    for c in range(len(scores)):
        mass[c] += scores[c] * share


@body
@no_type_check
def least_of(wrong, count):
    """A number that just so many of `wrong`, which are all different, reach."""
    low = high = wrong[0]
    for c in range(len(wrong)):
        low, high = min(low, wrong[c]), max(high, wrong[c])  # all reach one, a single one the other
    while low < high and count < len(wrong):
        middle = (low | high) - ((low ^ high) >> 1)  # half way, and no sum overflows
        reach = 0
        for c in range(len(wrong)):
            reach += wrong[c] >= middle
        if reach == count:
            return middle
        if reach > count:
            low = middle
        else:
            high = middle - 1
    return low
