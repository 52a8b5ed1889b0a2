"""The weights of the tokens within cells, see `sla_kernels.summary.weights`."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import compiled, number, of_head, part, power
from sla_kernels.passes.team import run_of, runs_of, shared


@compiled
@no_type_check
def score_tokens(tokens, queries, tilts, scale, size, d, threads):
    """Score ordered tokens by the query of their cell of `size`; what is not finite is zero."""
    runs = len(tilts) * runs_of(-(-tokens.orders.shape[1] // size), size)
    _score(runs, threads, (tokens, queries, tilts, scale, size, d))


@shared
@no_type_check
def _score(run, tokens, queries, tilts, scale, size, d):
    head, lo, hi = run_of(run, -(-tokens.orders.shape[1] // size), size)
    x, start, step, order = of_head(tokens, head)
    for cell in range(lo, hi):
        at = np.uint64(cell * d)
        for i in range(cell * size, min((cell + 1) * size, len(order))):
            found, source = np.float32(0), np.uint64(start + order[i] * step)
            for j in range(d):
                found += number(x[source + np.uint64(j)]) * queries[head, at + np.uint64(j)]
            found *= scale
            tilts[head, i] = found if np.abs(found) < np.inf else np.float32(0)


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
