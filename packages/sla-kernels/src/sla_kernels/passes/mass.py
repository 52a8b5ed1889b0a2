"""The mass that blocks of queries give to cells, see `sla_kernels.search.walk`."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import compiled, packed, power


@compiled
@no_type_check
def weigh(parts, pinned, heads, keys, spreads, logs, room, runs, fanout, mass, wrong, r, d):
    """Weigh the candidates of blocks: runs of `fanout` cells each.

    `logs` are those of the tokens in each of the `room` cells that every head has. `wrong` becomes
    mass times spread, packed with the candidate's place, below all others where there is no cell.
    """
    scores = np.empty((4, runs.shape[1] * fanout), np.float32)
    for block in range(len(runs)):
        mass[block] = 0
        first_key = heads[block] * room
        for first in range(0, r, 4):
            some = min(r - first, 4)
            at = (block * r + first) * d
            _score(parts, at, keys, first_key, logs, runs[block], fanout, scores, some, d)
            for part in range(some):
                limit = pinned[block * r + first + part]
                if limit < np.inf:
                    _add_shares(scores[part], limit, mass[block])
        for run in range(runs.shape[1]):
            for inner in range(fanout):
                c, cell = run * fanout + inner, runs[block, run] * fanout + inner
                found = mass[block, c] * spreads[first_key + cell]
                found = found if np.abs(found) < np.inf else np.float32(0)
                wrong[block, c] = packed(found if logs[cell] > -np.inf else np.float32(-1), c)


@compiled
@no_type_check
def _score(parts, at, keys, first, logs, runs, fanout, scores, some, d):
    """Score a block's candidates for up to four parts of it at once."""
    second, third = at + min(1, some - 1) * d, at + min(2, some - 1) * d
    fourth = at + (some - 1) * d
    for run in range(len(runs)):
        for inner in range(fanout):
            c, cell = run * fanout + inner, runs[run] * fanout + inner
            source = (first + cell) * d
            w, x, y, z = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for j in range(d):
                key = keys[np.uint64(source + j)]
                w += parts[np.uint64(at + j)] * key
                x += parts[np.uint64(second + j)] * key
                y += parts[np.uint64(third + j)] * key
                z += parts[np.uint64(fourth + j)] * key
            scores[0, c] = w + logs[cell]
            scores[1, c] = x + logs[cell]
            scores[2, c] = y + logs[cell]
            scores[3, c] = z + logs[cell]


@compiled
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


@compiled
@no_type_check
def split(wrong, least, runs, fanout, first, exist, nothing, opened, cells, rows):
    """Open the candidates of which a summary gets at least `least` wrong; write rows of the others.

    `opened` become their places, `cells` their cells. Of all cells of this size, the first of which
    is row `first`, so many `exist`; `rows` may have no room for any.
    """
    listing = rows.shape[1] > 0
    for block in range(len(wrong)):
        taken, left = 0, 0
        for run in range(runs.shape[1]):
            for inner in range(fanout):
                c, cell = run * fanout + inner, runs[block, run] * fanout + inner
                if wrong[block, c] >= least[block]:
                    opened[block, taken], cells[block, taken] = c, cell
                    taken += 1
                elif listing:
                    rows[block, left] = first + cell if cell < exist else nothing
                    left += 1


@compiled
@no_type_check
def name_tokens(opened, cells, mass, size, tokens, nothing, rows, left, coarse):
    """Write the rows of the tokens in exact blocks, and take their mass from what is `left`.

    A block holds `size` tokens, and a cell of the coarsest size `coarse` blocks.
    """
    last = left.shape[1] - 1
    for block in range(len(cells)):
        for i in range(cells.shape[1]):
            for inner in range(size):
                token = cells[block, i] * size + inner
                rows[block, i * size + inner] = token if token < tokens else nothing
            left[block, min(cells[block, i] // coarse, last)] -= mass[block, opened[block, i]]
