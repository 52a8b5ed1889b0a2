"""The mass that a block of queries gives to cells, see `sla_kernels.search.walk`."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import body, packed, power


@body
@no_type_check
def weigh(block, asking, cells, place, runs, fanout, room):
    """Weigh a block's candidates, runs of `fanout` cells each; those of a size begin at `place`.

    Of `room` the mass becomes what the block gives to each, and `wrong` that times its spread,
    packed with the candidate's place, below all others where there is no cell.
    """
    heads, parts = asking.parts.shape[:2]
    head, first = divmod(block * asking.per_block, parts)
    key_head, total = head * len(cells.keys) // heads, len(runs) * fanout
    keys, spreads, logs = cells.keys[key_head], cells.spreads[key_head], cells.logs[place:]
    room.mass[:total] = 0
    exist = min(-(-asking.queries // asking.size), first + asking.per_block)
    for one in range(first, exist, 4):
        some = asking.parts[head, one : min(one + 4, exist)]
        _score(some, keys, place, logs, runs, fanout, room.scores)
        for piece in range(len(some)):
            limit = _log_mass(some[piece], asking.pinned[key_head])
            _add_shares(room.scores[piece, :total], limit, room.mass[:total])
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            found = room.mass[c] * spreads[place + cell]
            found = found if np.abs(found) < np.inf else np.float32(0)
            room.wrong[c] = packed(found if logs[cell] > -np.inf else np.float32(-1), c)


@body
@no_type_check
def _log_mass(query, keys):
    """The log of the mass that a query gives to pinned keys; nothing where that cannot be told."""
    scores, top = np.empty(len(keys), np.float32), np.float32(-np.inf)
    for i in range(len(keys)):
        scores[i] = 0
        for j in range(len(query)):
            scores[i] += query[j] * keys[i, j]
        top = max(top, scores[i])
    total = np.float32(0)
    for i in range(len(keys)):
        total += power(scores[i] - top)
    found = top + np.log(total)
    return found if found == found else np.float32(-np.inf)


@body
@no_type_check
def _score(some, keys, place, logs, runs, fanout, scores):
    """Score a block's candidates for up to four parts of it at once."""
    last, d = len(some) - 1, some.shape[1]
    first, second, third = some[0], some[min(1, last)], some[min(2, last)]
    fourth = some[last]
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            source, log = (place + cell) * d, logs[cell]
            w, x, y, z = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for j in range(d):
                key = keys[np.uint64(source + j)]
                w += first[np.uint64(j)] * key
                x += second[np.uint64(j)] * key
                y += third[np.uint64(j)] * key
                z += fourth[np.uint64(j)] * key
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
