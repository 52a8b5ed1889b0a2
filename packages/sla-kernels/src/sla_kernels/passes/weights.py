"""The weights of the tokens within cells, see `sla_kernels.summary.weights`."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import body, number, of_head, part, power, put
from sla_kernels.passes.team import run_of, runs_of, shared


@part
@no_type_check
def score_tokens(keys, asking, size, left, tilts, scale, bounds, threads):
    """Score ordered tokens by the mean query of those who leave mass to their cell of `size`.

    What is not finite is zero.
    """
    runs = len(tilts) * runs_of(-(-keys.orders.shape[1] // size), size)
    _score(runs, threads, (keys, asking, size, left, tilts, scale, bounds))


@shared
@no_type_check
def _score(run, keys, asking, size, left, tilts, scale, bounds):
    head, lo, hi = run_of(run, -(-keys.orders.shape[1] // size), size)
    x, start, step, order = of_head(keys, head)
    d, found = asking.parts.shape[2], tilts[head]
    query, rounded = np.empty(d, np.float32), np.empty(d, x.dtype)
    for cell in range(lo, hi):
        _ask(asking, left, bounds[0], (head, len(tilts), cell), scale, query)
        for j in range(d):
            put(rounded, j, query[j])
            query[j] = number(rounded[j])
        begin, end, top = cell * size, min((cell + 1) * size, len(order)), np.float32(-np.inf)
        for i in range(begin, end):
            score, source = np.float32(0), np.uint64(start + order[i] * step)
            for j in range(d):
                score += number(x[source + np.uint64(j)]) * query[np.uint64(j)]
            score *= scale
            found[i] = score if np.abs(score) < np.inf else np.float32(0)
            top = max(top, found[i])
        for i in range(begin, end):
            found[i] = max(found[i], top - bounds[1])


@body
@no_type_check
def _ask(asking, left, least, asked, scale, query):
    """The mean query of a key head's blocks, by what they leave to a cell: `least`, at least."""
    head, key_heads, cell = asked
    blocks, total = len(left) // key_heads, np.float32(0)
    query[:] = 0
    for block in range(head * blocks, (head + 1) * blocks):
        mass = max(left[block, cell], least)
        total += mass
        for j in range(len(query)):
            query[j] += mass * asking.means[block, np.uint64(j)]
    for j in range(len(query)):
        query[j] /= total * scale


@part
@no_type_check
def weigh_tokens(tilts, shares, totals, entropies, sizes, firsts, tokens, lo, hi):
    """Softmax of the tilts within every cell of every size, from one exponential."""
    for top in range(lo, hi):
        begin, end = top * sizes[-1], min((top + 1) * sizes[-1], tokens)
        most = tilts[begin]
        for i in range(begin, end):
            most = max(most, tilts[i])
        for i in range(begin, end):
            shares[i] = power(tilts[i] - most)
        for level in range(len(sizes)):
            for cell in range(begin // sizes[level], -(-end // sizes[level])):
                total, product = np.float32(0), np.float32(0)
                for i in range(cell * sizes[level], min((cell + 1) * sizes[level], tokens)):
                    total += shares[i]
                    product += shares[i] * (tilts[i] - most)
                totals[firsts[level] - firsts[0] + cell] = total
                entropies[firsts[level] + cell] = np.log(total) - product / total
