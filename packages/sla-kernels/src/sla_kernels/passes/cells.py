"""Tokens averaged over cells, and laid out with their cells, each in one reading."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import (
    AHEAD,
    body,
    compiled,
    fetch_tokens,
    finite,
    number,
    of_head,
    part,
    put,
)
from sla_kernels.passes.team import run_of, runs_of, shared
from sla_kernels.passes.weights import weigh_tokens


@part
@no_type_check
def average_cells(tokens, cells, threads):
    """Average ordered keys over cells of every size, and say how far they and values spread."""
    runs = runs_of(-(-tokens[0].orders.shape[1] // cells.sizes[-1]), cells.sizes[-1])
    _average(len(cells.keys) * runs, threads, (tokens, cells))


@shared
@no_type_check
def _average(run, tokens, cells):
    count, last = tokens[0].orders.shape[1], cells.sizes[-1]
    head, lo, hi = run_of(run, -(-count // last), last)
    means, spreads = cells.keys[head], cells.spreads[head]
    d = len(means) // len(spreads)
    for i in range(2):  # keys, then values, whose means are not kept
        x, start, step, order = of_head(tokens[i], head)
        made = means if i == 0 else means[:0]
        _average_tokens(x, start, step, order, made, spreads, cells.sizes, cells.firsts, lo, hi, d)


@body
@no_type_check
def _average_tokens(x, start, step, order, means, spreads, sizes, firsts, lo, hi, d):
    """Average within cells `lo` to `hi` of the largest size.

    Spreads are multiplied by how far tokens lie from their mean; means are not kept where there is
    no room. What is not finite is zero.
    """
    small, tokens = sizes[0], len(order)
    first, last = lo * (sizes[-1] // small), min(hi * (sizes[-1] // small), -(-tokens // small))
    totals, squares = np.zeros((len(sizes), d), np.float32), np.zeros(len(sizes), np.float32)
    for cell in range(first, last):
        end = min((cell + 1) * small, tokens)
        fetch_tokens(x, start, step, order, cell * small, end, d)
        squares[0] = _sum_up(x, start, step, order, cell * small, end, totals[0])
        for level in range(len(sizes)):
            begin = (end - 1) // sizes[level] * sizes[level]
            if end < min(begin + sizes[level], tokens):
                break  # the cell of this size goes on
            at = firsts[level] + begin // sizes[level]
            _keep(means, spreads, at, totals[level], squares[level], end - begin)
            if level + 1 < len(sizes):
                squares[level + 1] += squares[level]
                for j in range(d):
                    totals[level + 1, j] += totals[level, j]
            for j in range(d):
                totals[level, j] = 0
            squares[level] = 0


@part
@no_type_check
def _sum_up(x, start, step, order, begin, end, total):
    """Sum ordered tokens and their squared lengths, four a turn, so that sums stay in registers."""
    square, whole = np.float32(0), begin + (end - begin) // 4 * 4
    for i in range(begin, whole, 4):
        one, two = np.uint64(start + order[i] * step), np.uint64(start + order[i + 1] * step)
        three, four = np.uint64(start + order[i + 2] * step), np.uint64(start + order[i + 3] * step)
        for j in range(len(total)):
            at = np.uint64(j)
            a, b = number(x[one + at]), number(x[two + at])
            c, e = number(x[three + at]), number(x[four + at])
            total[j] += (a + b) + (c + e)
            square += (a * a + b * b) + (c * c + e * e)
    for i in range(whole, end):
        source = np.uint64(start + order[i] * step)
        for j in range(len(total)):
            value = number(x[source + np.uint64(j)])
            total[j] += value
            square += value * value
    for j in range(len(total)):
        total[j] = finite(total[j])
    return finite(square)


@part
@no_type_check
def _keep(means, spreads, cell, total, square, count):
    """Write what a cell of `count` tokens comes to, from their sums."""
    share, norm = np.float32(1) / np.float32(count), np.float32(0)
    for j in range(len(total)):
        norm += total[j] * share * (total[j] * share)
    spreads[cell] *= np.sqrt(max(square * share - norm, np.float32(0)))
    if len(means):
        at = np.uint64(cell * len(total))
        for j in range(len(total)):
            means[at + np.uint64(j)] = total[j] * share


@part
@no_type_check
def average_queries(queries, asking, scale, threads):
    """Average parts of query blocks, times `scale`; what is not finite is zero."""
    heads, parts, _ = asking.parts.shape
    _mean(heads * runs_of(parts, asking.size), threads, (queries, asking, scale))


@shared
@no_type_check
def _mean(run, queries, asking, scale):
    _, parts, d = asking.parts.shape
    size, (head, lo, hi) = asking.size, run_of(run, parts, asking.size)
    x, start, step, order = of_head(queries, head)
    means = asking.parts[head]
    total = np.empty(d, np.float32)
    for cell in range(lo, hi):
        begin, end = min(cell * size, len(order)), min((cell + 1) * size, len(order))
        total[:] = 0
        fetch_tokens(x, start, step, order, begin, end, d)
        for i in range(begin, end):
            source = np.uint64(start + order[i] * step)
            for j in range(d):
                total[j] += number(x[source + np.uint64(j)])
        share = scale / np.float32(max(end - begin, 1))
        for j in range(d):
            means[cell, j] = finite(total[j] * share)


@compiled
@no_type_check
def put_in_order(tokens, rows, d, threads):
    """Write tokens side by side as they stand in order, head by head; zeros behind the last."""
    _arrange(len(rows) * runs_of(rows.shape[1] // d, 1), threads, (tokens, rows, d))


@shared
@no_type_check
def _arrange(run, tokens, rows, d):
    head, lo, hi = run_of(run, rows.shape[1] // d, 1)
    x, start, step, order = of_head(tokens, head)
    made, last = rows[head], min(hi, len(order))
    for begin in range(lo, last, AHEAD):
        end = min(begin + AHEAD, last)
        fetch_tokens(x, start, step, order, begin, end, d)
        for i in range(begin, end):
            source, target = np.uint64(start + order[i] * step), np.uint64(i * d)
            for j in range(d):
                made[target + np.uint64(j)] = x[source + np.uint64(j)]
    for i in range(max(lo, last) * d, hi * d):
        made[i] = 0


@compiled
@no_type_check
def put_back(rows, firsts, across, tokens, d, threads):
    """Write rows that stand in order, `across` apart, to where their tokens stand."""
    runs = len(firsts) * runs_of(tokens.orders.shape[1], 1)
    _put(runs, threads, (rows, firsts, across, tokens, d))


@shared
@no_type_check
def _put(run, rows, firsts, across, tokens, d):
    head, lo, hi = run_of(run, tokens.orders.shape[1], 1)
    x, start, step, order = of_head(tokens, head)
    first = firsts[head]
    for begin in range(lo, hi, AHEAD):
        end = min(begin + AHEAD, hi)
        fetch_tokens(x, start, step, order, begin, end, d)
        for i in range(begin, end):
            source, target = np.uint64(first + i * across), np.uint64(start + order[i] * step)
            for j in range(d):
                x[target + np.uint64(j)] = rows[source + np.uint64(j)]


@compiled
@no_type_check
def lay_out(tokens, rows, tilts, weights, entropies, sizes, firsts, d, threads):
    """Put keys and values in order, and behind them the weighted means of cells, see `Layout`.

    `tokens` and `rows` are those of both. `weights` is room for the shares of tokens, and for their
    sums over cells; `entropies` become those of the shares.
    """
    cells = -(-tokens[0].orders.shape[1] // sizes[-1])
    given = tokens, rows, tilts, weights, entropies, sizes, firsts, d
    _lay_out(len(tilts) * runs_of(cells, sizes[-1]), threads, given)


@shared
@no_type_check
def _lay_out(run, tokens, rows, tilts, weights, entropies, sizes, firsts, d):
    count = tokens[0].orders.shape[1]
    head, lo, hi = run_of(run, -(-count // sizes[-1]), sizes[-1])
    shares, totals = weights[0][head], weights[1][head]
    weigh_tokens(tilts[head], shares, totals, entropies[head], sizes, firsts, count, lo, hi)
    for i in range(2):
        x, start, step, order = of_head(tokens[i], head)
        made = rows[i][head]
        _lay_out_tokens(x, start, step, order, shares, totals, made, sizes, firsts, lo, hi, d)


@body
@no_type_check
def _lay_out_tokens(x, start, step, order, shares, totals, rows, sizes, firsts, lo, hi, d):
    """Those of cells `lo` to `hi` of the largest size.

    `totals` are the sums of `shares` over cells, those of size `l` from `firsts[l] - firsts[0]` on.
    """
    small, tokens = sizes[0], len(order)
    first, last = lo * (sizes[-1] // small), min(hi * (sizes[-1] // small), -(-tokens // small))
    sums, total = np.empty((last - first) * d, np.float32), np.empty(d, np.float32)
    for cell in range(first, last):
        total[:] = 0
        begin, end = cell * small, min((cell + 1) * small, tokens)
        fetch_tokens(x, start, step, order, begin, end, d)
        for i in range(begin, end):
            source, target, share = np.uint64(start + order[i] * step), np.uint64(i * d), shares[i]
            for j in range(d):
                value = x[source + np.uint64(j)]
                rows[target + np.uint64(j)] = value
                total[j] += share * number(value)
        at = np.uint64((cell - first) * d)
        for j in range(d):
            sums[at + np.uint64(j)] = total[j]
    for level in range(len(sizes)):
        if level:
            _add_up(sums, last - first, sizes[level] // sizes[level - 1], d)
            within = sizes[-1] // sizes[level]
            first, last = lo * within, min(hi * within, -(-tokens // sizes[level]))
        for cell in range(first, last):
            source, target = (cell - first) * d, (firsts[level] + cell) * d
            share = np.float32(1) / totals[firsts[level] - firsts[0] + cell]
            for j in range(d):
                put(rows, np.uint64(target + j), sums[np.uint64(source + j)] * share)


@part
@no_type_check
def _add_up(sums, cells, fanout, d):
    """Sum runs of `fanout` cells in place."""
    for run in range(-(-cells // fanout)):
        target = np.uint64(run * d)
        for j in range(d):
            sums[target + np.uint64(j)] = sums[np.uint64(run * fanout * d + j)]
        for cell in range(run * fanout + 1, min((run + 1) * fanout, cells)):
            for j in range(d):
                sums[target + np.uint64(j)] += sums[np.uint64(cell * d + j)]
