"""Tokens averaged over cells, and laid out with their cells, each in one reading."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import AHEAD, compiled, fetch_tokens, finite, number, part, put


@compiled
@no_type_check
def average_cells(x, start, step, order, means, spreads, sizes, firsts, lo, hi, d):
    """Average ordered tokens over cells of every size, within cells `lo` to `hi` of the largest.

    The cells of size `l` stand from `firsts[l]` on. `spreads` are multiplied by how far tokens lie
    from their mean; means are not kept where there is no room. What is not finite is zero.
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
            totals[level] = 0
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


@compiled
@no_type_check
def average_runs(x, start, step, order, means, scale, size, lo, hi, d):
    """Means of runs `lo` to `hi` of ordered tokens times `scale`; what is not finite is zero."""
    total = np.empty(d, np.float32)
    for run in range(lo, hi):
        begin, end = run * size, min((run + 1) * size, len(order))
        total[:] = 0
        fetch_tokens(x, start, step, order, begin, end, d)
        for i in range(begin, end):
            source = np.uint64(start + order[i] * step)
            for j in range(d):
                total[j] += number(x[source + np.uint64(j)])
        share = scale / np.float32(max(end - begin, 1))
        at = np.uint64(run * d)
        for j in range(d):
            means[at + np.uint64(j)] = finite(total[j] * share)


@compiled
@no_type_check
def put_back(rows, first, across, x, start, step, order, lo, hi, d):
    """Write rows `lo` to `hi`, which stand in order, to where their tokens stand."""
    for begin in range(lo, hi, AHEAD):
        end = min(begin + AHEAD, hi)
        fetch_tokens(x, start, step, order, begin, end, d)
        for i in range(begin, end):
            source, target = np.uint64(first + i * across), np.uint64(start + order[i] * step)
            for j in range(d):
                x[target + np.uint64(j)] = rows[source + np.uint64(j)]


@compiled
@no_type_check
def lay_out(x, start, step, order, shares, totals, rows, sizes, firsts, lo, hi, d):
    """Put tokens in order, and behind them the weighted means of cells, see `Layout`.

    `shares` are the weights of the tokens, `totals` their sums over the cells of every size, those
    of size `l` from `firsts[l] - firsts[0]` on.
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
