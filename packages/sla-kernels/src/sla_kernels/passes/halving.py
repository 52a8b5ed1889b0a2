"""One step of an order, see `sla_kernels.order.median`: how far tokens stand along a direction."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import compiled, packed

_BEHIND = np.iinfo(np.int64).max


@compiled
@no_type_check
def place(features, order, starts, ends, places, turns, lo, hi):
    """Write the value of each token of segments `lo` to `hi`, packed with its place there.

    The value is that along the segment's own direction, its widest axis turned so many times.
    Places beyond the segment sort behind all others.
    """
    axes = features.shape[1]
    total, spread = np.empty(axes, np.float32), np.empty((axes, axes), np.float32)
    apart, along = np.empty(axes, np.float32), np.empty(axes, np.float32)
    for segment in range(lo, hi):
        start, count = starts[segment], ends[segment] - starts[segment]
        if turns:
            _gather_spread(features, order, start, count, total, spread, apart)
        else:
            _gather_variances(features, order, start, count, total, spread)
        _direct(spread, along, turns)
        first = order[start]
        for i in range(count):
            token, value = order[start + i], np.float32(0)
            for j in range(axes):
                value += (features[token, j] - features[first, j]) * along[j]
            places[segment, i] = packed(value, i)
        for i in range(count, places.shape[1]):
            places[segment, i] = _BEHIND


@compiled
@no_type_check
def _gather_spread(features, order, start, count, total, spread, apart):
    """Sums of products of the axes over a segment, about its mean; tokens about its first one."""
    axes = features.shape[1]
    total[:] = 0
    spread[:] = 0
    first = order[start]
    for i in range(count):
        token = order[start + i]
        for j in range(axes):
            apart[j] = features[token, j] - features[first, j]
            total[j] += apart[j]
        for j in range(axes):
            for k in range(axes):
                spread[j, k] += apart[j] * apart[k]
    for j in range(axes):
        for k in range(axes):
            spread[j, k] -= total[j] * (total[k] / np.float32(count))


@compiled
@no_type_check
def _gather_variances(features, order, start, count, total, spread):
    """The diagonal of the same alone."""
    total[:] = 0
    spread[0] = 0
    first = order[start]
    for i in range(count):
        token = order[start + i]
        for j in range(len(total)):
            apart = features[token, j] - features[first, j]
            total[j] += apart
            spread[0, j] += apart * apart
    for j in range(len(total) - 1, -1, -1):
        spread[j, j] = spread[0, j] - total[j] * (total[j] / np.float32(count))


@compiled
@no_type_check
def _direct(spread, along, turns):
    """The axis of most variance, turned towards the first principal component."""
    axes, widest = len(along), 0
    for j in range(axes):
        if spread[j, j] > spread[widest, widest]:
            widest = j
    along[:] = 0
    along[widest] = 1
    turned = np.empty(axes, np.float32)
    for _ in range(turns):
        turned[:] = 0
        for j in range(axes):
            for k in range(axes):
                turned[k] += along[j] * spread[j, k]
        most = np.float32(1e-30)
        for j in range(axes):
            most = max(most, np.abs(turned[j]))
        for j in range(axes):
            along[j] = turned[j] / most


@compiled
@no_type_check
def move(order, starts, ends, places, moved, lo, hi):
    """Put the tokens of segments `lo` to `hi` where their sorted places say."""
    for segment in range(lo, hi):
        for i in range(ends[segment] - starts[segment]):
            came = places[segment, i] & np.int64(0xFFFFFFFF)
            moved[starts[segment] + i] = order[starts[segment] + came]
