"""The softmax of scores in place, one pass over each row while it lies in the nearest cache."""

from typing import no_type_check

import numpy as np

from sla_kernels.passes.scalar import as_float, ascending, compiled, number, power, put
from sla_kernels.passes.team import run_of, runs_of, shared

_LEAST = np.int32(-(2**31))
_MAGNITUDE = np.int32(0x7FFFFFFF)
_ROW = 16  # tokens that a row of scores counts for where rows are shared


@compiled
@no_type_check
def soften(scores, bias, scale, queries, listed, threads):
    """Replace rows of scores by the softmax of scale * score + bias.

    `bias` has a row for so many `queries`. Rows whose largest is not finite become NaN.
    """
    rows = len(scores) // listed
    _soften(runs_of(rows, _ROW), threads, (scores, bias, scale, queries, listed))


@shared
@no_type_check
def _soften(run, scores, bias, scale, queries, listed):
    _, lo, hi = run_of(run, len(scores) // listed, _ROW)
    row = np.empty(listed, np.float32)
    for r in range(lo, hi):
        at, of_block = np.uint64(r * listed), np.uint64(r // queries * listed)
        most = _LEAST
        for c in range(listed):
            x = number(scores[at + np.uint64(c)]) * scale + bias[of_block + np.uint64(c)]
            row[c] = x
            most = max(most, ascending(x))
        top = as_float(np.uint32(most ^ ((most >> np.int32(31)) & _MAGNITUDE)))
        total = np.float32(0)
        for c in range(listed):
            row[c] = power(row[c] - top)
            total += row[c]
        share = np.float32(1) / total if np.abs(top) < np.inf else np.float32(np.nan)
        for c in range(listed):
            put(scores, at + np.uint64(c), row[c] * share)
