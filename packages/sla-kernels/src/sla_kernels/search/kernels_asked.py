"""The Triton kernels of what queries ask: their means, and the mass they give the largest cells.

All blocks score the largest cells, so that a program reads those for many blocks together, twice:
for the largest score and the sum of each part, and for the masses, which it stores. Lengths are
plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _program

LENGTHS = ["queries", "pinned", "query_blocks", "group", "cells", "size", "tokens"]


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def asked_kernel(
    Q,
    K,
    Order,
    Outside,
    Parts,
    Pinned,
    queries,
    pinned,
    heads,
    group,
    stride_qb,
    stride_qh,
    stride_qn,
    stride_kb,
    stride_kh,
    stride_kn,
    scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    TILE: tl.constexpr,
    ORDERED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write means of PARTS runs of PART ordered queries, times the scale; and the log of the mass
    that each gives to pinned keys, plus infinity for a run beyond the last query."""
    of_head = tl.cdiv(tl.cdiv(queries, PART), PARTS)
    at = tl.program_id(0)
    run, bh = at % of_head, (at // of_head).to(tl.int64)
    columns = tl.arange(0, BLOCK_D)
    place = run * PARTS * PART + tl.arange(0, PARTS * PART)
    inside = place < queries
    position = place.to(tl.int64)
    if ORDERED:
        position = tl.load(Order + bh // heads * queries + place, mask=inside, other=0)
    head = Q + bh // heads * stride_qb + bh % heads * stride_qh
    loaded = tl.load(
        head + position[:, None] * stride_qn + columns[None, :],
        mask=inside[:, None] & (columns < D)[None, :],
        other=0.0,
    ).to(tl.float32)
    part = run * PARTS + tl.arange(0, PARTS)
    count = tl.minimum(tl.maximum(queries - part * PART, 1), PART).to(tl.float32)
    mean = tl.sum(tl.reshape(loaded, [PARTS, PART, BLOCK_D]), 1) / count[:, None]
    mean = tl.where(tl.abs(mean) < float("inf"), mean, 0.0) * scale
    real = part < tl.cdiv(queries, PART)
    total = tl.cdiv(queries, PART)
    own = Parts + (bh * total + part)[:, None] * D + columns[None, :]
    tl.store(own, mean, mask=real[:, None] & (columns < D)[None, :])
    asked = mean.to(K.dtype.element_ty)
    keys_of = K + bh // heads * stride_kb + bh % heads // group * stride_kh
    top = tl.full([PARTS], float("-inf"), tl.float32)
    mass = tl.zeros([PARTS], tl.float32)
    for start in range(0, pinned, TILE):
        key = start + tl.arange(0, TILE)
        at_key = tl.load(Outside + key, mask=key < pinned, other=0)
        keys = tl.load(
            keys_of + at_key[:, None] * stride_kn + columns[None, :],
            mask=(key < pinned)[:, None] & (columns < D)[None, :],
            other=0.0,
        )
        scores = tl.dot(asked, tl.trans(keys), input_precision=PRECISION)
        scores = tl.where((key < pinned)[None, :], scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(new_top == float("-inf"), 0.0, new_top)
        mass = mass * tl.exp(top - base) + tl.sum(tl.exp(scores - base[:, None]), 1)
        top = new_top
    found = tl.where(
        mass > 0, tl.where(top == float("-inf"), 0.0, top) + tl.log(mass), float("-inf")
    )
    tl.store(Pinned + bh * total + part, found, mask=real)


@triton.jit
@no_type_check
def _asked(
    Parts, Keys, bh, part, queries, D: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr
):  # fmt: skip
    """Mean queries of some parts."""
    columns = tl.arange(0, BLOCK_D)
    total = tl.cdiv(queries, PART)
    real = (part >= 0) & (part < total)
    pointers = Parts + (bh * total + part)[:, None] * D + columns[None, :]
    asked = tl.load(pointers, mask=real[:, None] & (columns < D)[None, :], other=0.0)
    return asked.to(Keys.dtype.element_ty)


@triton.jit
@no_type_check
def _to_pinned(Pinned, bh, part, queries, PART: tl.constexpr):
    """The log of the mass that some parts give to pinned tokens."""
    total = tl.cdiv(queries, PART)
    real = (part >= 0) & (part < total)
    return tl.load(Pinned + bh * total + part, mask=real, other=float("inf"))


@triton.jit
@no_type_check
def _cells(table, at, cells, size, tokens, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Mean keys of some cells, and the logs of how many tokens they hold."""
    columns = tl.arange(0, BLOCK_D)
    there = at < cells
    pointers = table + at.to(tl.int64)[:, None] * D + columns[None, :]
    keys = tl.load(pointers, mask=there[:, None] & (columns < D)[None, :], other=0.0)
    whole, last = tl.log(size.to(tl.float32)), tl.log((tokens - (cells - 1) * size).to(tl.float32))
    return keys, tl.where(at < cells - 1, whole, tl.where(there, last, float("-inf")))


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def largest_cells_kernel(
    Parts,
    Pinned,
    Keys,
    Left,
    query_blocks,
    group,
    queries,
    cells,
    size,
    tokens,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    OF_BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the mass that blocks of PARTS parts together give each cell of the largest size."""
    IN: tl.constexpr = PARTS // OF_BLOCK
    run, bh = _program(tl.cdiv(query_blocks, IN))
    table = Keys + bh // group * cells * D
    part = run * PARTS + tl.arange(0, PARTS)
    asked = _asked(Parts, Keys, bh, part, queries, D, BLOCK_D, PART)
    top = tl.full([PARTS], float("-inf"), tl.float32)
    sums = tl.zeros([PARTS], tl.float32)
    for start in range(0, cells, TILE):
        at = start + tl.arange(0, TILE)
        keys, logs = _cells(table, at, cells, size, tokens, D, BLOCK_D)
        scores = tl.dot(asked, tl.trans(keys), input_precision=PRECISION) + logs[None, :]
        new_top = tl.maximum(top, tl.max(scores, 1))  # finite: the first tile holds a cell
        sums = sums * tl.exp(top - new_top) + tl.sum(tl.exp(scores - new_top[:, None]), 1)
        top = new_top
    to_pinned = _to_pinned(Pinned, bh, part, queries, PART)
    share = 1.0 / (sums + tl.exp(to_pinned - top))  # 0 for a part without queries
    block = run * IN + tl.arange(0, IN)
    own = Left + (bh * query_blocks + block)[:, None] * cells
    for start in range(0, cells, TILE):
        at = start + tl.arange(0, TILE)
        keys, logs = _cells(table, at, cells, size, tokens, D, BLOCK_D)
        scores = tl.dot(asked, tl.trans(keys), input_precision=PRECISION) + logs[None, :]
        shares = tl.exp(scores - top[:, None]) * share[:, None]
        mass = tl.sum(tl.reshape(shares, [IN, OF_BLOCK, TILE]), 1)
        there = (block < query_blocks)[:, None] & (at < cells)[None, :]
        tl.store(own + at[None, :], mass, mask=there)
