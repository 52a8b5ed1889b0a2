"""The Triton kernel that scores candidates: no key is copied, no score is stored.

A program has the mean queries of one block. It walks the block's candidates twice: once for the
largest score and the sum of each part, once for the shares. The second time keys come from a cache.
All tensors are contiguous; lengths are plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

LENGTHS = ["candidates", "cells", "parts"]


@triton.jit
@no_type_check
def _scores(
    queries, table, Logs, at, D: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr
):
    """Scores [PARTS, TILE] of some cells, with the logs of their counts."""
    columns = tl.arange(0, BLOCK_D)
    pointers = table + at[:, None] * D + columns[None, :]
    keys = tl.load(pointers, mask=(columns < D)[None, :], other=0.0)
    logs = tl.load(Logs + at)
    return tl.dot(queries, tl.trans(keys), input_precision=PRECISION) + logs[None, :]


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def cell_mass_kernel(
    Parts,
    Pinned,
    Keys,
    Logs,
    At,
    Head,
    Mass,
    candidates,
    cells,
    parts,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PARTS: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the mass of each candidate: its shares of a softmax for each part, added up."""
    block = tl.program_id(0).to(tl.int64)
    table = Keys + tl.load(Head + block) * cells * D
    row = tl.arange(0, PARTS)
    real = row < parts
    columns = tl.arange(0, BLOCK_D)
    inside = real[:, None] & (columns < D)[None, :]
    pointers = Parts + (block * parts + row)[:, None] * D + columns[None, :]
    queries = tl.load(pointers, mask=inside, other=0.0).to(Keys.dtype.element_ty)
    pinned = tl.load(Pinned + block * parts + row, mask=real, other=float("inf"))
    top = tl.full([PARTS], float("-inf"), tl.float32)
    total = tl.zeros([PARTS], tl.float32)
    for start in range(0, candidates, TILE):
        place = start + tl.arange(0, TILE)
        at = tl.load(At + block * candidates + place, mask=place < candidates, other=cells - 1)
        scores = _scores(queries, table, Logs, at, D, BLOCK_D, PRECISION)
        new_top = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(new_top == float("-inf"), 0.0, new_top)  # no candidate yet
        total = total * tl.exp(top - base) + tl.sum(tl.exp(scores - base[:, None]), 1)
        top = new_top
    base = tl.where(top == float("-inf"), 0.0, top)
    share = 1.0 / (total + tl.exp(pinned - base))  # 0 for a part without queries
    share = tl.where(real & (top > float("-inf")), share, 0.0)
    for start in range(0, candidates, TILE):
        place = start + tl.arange(0, TILE)
        at = tl.load(At + block * candidates + place, mask=place < candidates, other=cells - 1)
        scores = _scores(queries, table, Logs, at, D, BLOCK_D, PRECISION)
        mass = tl.sum(tl.exp(scores - base[:, None]) * share[:, None], 0)
        tl.store(Mass + block * candidates + place, mass, mask=place < candidates)
