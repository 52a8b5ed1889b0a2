"""One step of an order, see `sla_kernels.order.median`: how far tokens stand along a direction."""

from typing import no_type_check

import numba
import numpy as np

from sla_kernels.passes.scalar import body, compiled, packed
from sla_kernels.passes.team import run_of, runs_of, shared

_BEHIND = np.iinfo(np.int64).max


@compiled
@no_type_check
def halve(now, then, before, after, turning, threads):
    """Move tokens to where the sorted places of one step say, and place them for the next.

    `now` and `then` are positions and features; a step is where segments begin, where they end, and
    the places of their tokens, of which those of `after` are written: the value of each token, and
    its place in its segment. The value is that along the segment's own direction, its widest axis
    turned so many times. Places beyond a segment sort behind all others.
    """
    _move(runs_of(len(before[0]), before[2].shape[1]), threads, (*now, *then, *before))
    _place(runs_of(len(after[0]), after[2].shape[1]), threads, (then[1], *after, turning))


@shared
@no_type_check
def _place(number, features, starts, ends, places, turning):
    axes, (turns, steep, tiny) = features.shape[1], turning
    middle, along = np.empty(axes, np.float32), np.empty(axes, np.float32)
    turned = np.empty(axes, np.float32)
    _, lo, hi = run_of(number, len(starts), places.shape[1])
    for segment in range(lo, hi):
        start, count = starts[segment], ends[segment] - starts[segment]
        rows = features[start : start + count]
        scale = _widest(rows, middle, along, turned, tiny)
        for _ in range(turns):
            scale = _turn(rows, middle, along, turned, steep / max(scale, tiny), tiny)
        for i in range(count):
            value = np.float32(0)
            for j in range(axes):
                value += _apart(rows[i, j], rows[0, j]) * along[j]
            places[segment, i] = packed(value, i)
        for i in range(count, places.shape[1]):
            places[segment, i] = _BEHIND


@numba.njit(fastmath=False)
@no_type_check
def _apart(one, other):
    """A difference that is made as it stands: it is exact where tokens are nearly equal."""
    return one - other


@body
@no_type_check
def _widest(rows, middle, along, squares, tiny):
    """The mean of tokens about the first one, the axis of most variance, and its deviation."""
    count, axes = rows.shape
    middle[:] = 0
    squares[:] = 0
    for i in range(count):
        for j in range(axes):
            apart = _apart(rows[i, j], rows[0, j])
            middle[j] += apart
            squares[j] += apart * apart
    widest, most = 0, np.float32(-np.inf)
    for j in range(axes):
        middle[j] /= np.float32(count)
        spread = squares[j] / np.float32(count) - middle[j] * middle[j]
        spread = max(spread, tiny) if spread == spread else np.float32(np.inf)
        if spread > most:
            widest, most = j, spread
    along[:] = 0
    along[widest] = 1
    return np.sqrt(most)


@body
@no_type_check
def _turn(rows, middle, along, turned, steep, tiny):
    """Turn a direction once; how far tokens stood along it before, mean."""
    count, axes = rows.shape
    turned[:] = 0
    far, square = np.float32(0), np.float32(0)
    for i in range(count):
        value = np.float32(0)
        for j in range(axes):
            value += _apart(_apart(rows[i, j], rows[0, j]), middle[j]) * along[j]
        far += np.abs(value)
        weight = min(max(value * steep, np.float32(-1)), np.float32(1))
        for j in range(axes):
            turned[j] += weight * _apart(_apart(rows[i, j], rows[0, j]), middle[j])
    for j in range(axes):
        square += turned[j] * turned[j]
    if square > tiny and square < np.inf:
        length = np.sqrt(square)
        for j in range(axes):
            along[j] = turned[j] / length
    return far / np.float32(count)


@shared
@no_type_check
def _move(number, order, features, moved, rows, starts, ends, places):
    _, lo, hi = run_of(number, len(starts), places.shape[1])
    for segment in range(lo, hi):
        start = starts[segment]
        for i in range(ends[segment] - start):
            came = start + (places[segment, i] & np.int64(0xFFFFFFFF))
            moved[start + i] = order[came]
            for j in range(features.shape[1]):
                rows[start + i, j] = features[came, j]
