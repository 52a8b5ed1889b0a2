"""Triton kernels of listed rows: forward, gradients of queries and entries, sums of entries.

A program walks the list of one tile of queries, TILE_N rows a turn. Row numbers are loaded a turn
before the keys and values that they point to, which otherwise could not be loaded ahead. Beyond a
list's end stands the row that is nothing, whose finite bias keeps it out of every softmax: no turn
needs a mask, and nothing that is infinite is ever subtracted from its like. All tensors are
contiguous; lengths are plain arguments, never compiled in; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _load_tile, _program, _store_tile

LENGTHS = ["n", "rows", "group", "listed", "query_blocks", "first_tile", "heads", "out_n"]


@triton.jit
@no_type_check
def _numbers(at, start, listed, rows, TILE_N: tl.constexpr):
    """The row numbers of one turn; past the end of the list that of nothing, the last row."""
    places = start + tl.arange(0, TILE_N)
    return tl.load(at + places, mask=places < listed, other=rows - 1)


@triton.jit
@no_type_check
def _gather(head, numbers, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load rows [TILE_N, BLOCK_D] by their numbers; padding of D is zero."""
    columns = tl.arange(0, BLOCK_D)
    pointers = (head + numbers.to(tl.int64) * D)[:, None] + columns[None, :]
    if D < BLOCK_D:
        return tl.load(pointers, mask=(columns < D)[None, :], other=0.0)
    return tl.load(pointers)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def summary_attention_forward_kernel(
    Q,
    K,
    V,
    Bias,
    Lists,
    Order,
    Out,
    LSE,
    n,
    rows,
    group,
    listed,
    query_blocks,
    scale_log2,
    heads,
    out_n,
    stride_qb,
    stride_qh,
    stride_qn,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    TILE_M: tl.constexpr,
    TILE_N: tl.constexpr,
    ORDERED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the output where the queries stand, and the log-sum-exp in powers of two in order.

    With ORDERED a query's place in `Order` says where it stands; else it stands at its place.
    """
    tile, bh = _program(tl.cdiv(n, TILE_M))
    start_m = tile * TILE_M
    at = Lists + (bh * query_blocks + start_m // BLOCK_Q) * listed
    first = bh // group * rows
    queries = start_m + tl.arange(0, TILE_M)
    columns = tl.arange(0, BLOCK_D)
    inside = (queries < n)[:, None] & (columns < D)[None, :]
    position = queries.to(tl.int64)
    if ORDERED:
        position = tl.load(Order + bh // heads * n + queries, mask=queries < n, other=0)
    head = Q + bh // heads * stride_qb + bh % heads * stride_qh
    q = tl.load(head + position[:, None] * stride_qn + columns[None, :], mask=inside, other=0.0)
    acc = tl.zeros([TILE_M, BLOCK_D], tl.float32)
    top = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    numbers = _numbers(at, 0, listed, rows, TILE_N)
    for start in range(0, listed, TILE_N):
        k = _gather(K + first * D, numbers, D, BLOCK_D)
        v = _gather(V + first * D, numbers, D, BLOCK_D)
        bias = tl.load(Bias + first + numbers) * 1.4426950408889634
        numbers = _numbers(at, start + TILE_N, listed, rows, TILE_N)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2 + bias[None, :]
        new_top = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp2(scores - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None]
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision=PRECISION)
        top = new_top
    made = (acc / total[:, None]).to(Out.dtype.element_ty)
    tl.store(Out + (bh * out_n + position)[:, None] * D + columns[None, :], made, mask=inside)
    tl.store(LSE + bh * n + queries, top + tl.log2(total), mask=queries < n)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def summary_attention_backward_kernel(
    Grad,
    Q,
    K,
    V,
    Bias,
    Lists,
    Out,
    LSE,
    DQ,
    EntriesK,
    EntriesV,
    n,
    rows,
    group,
    listed,
    query_blocks,
    first_tile,
    scale,
    scale_log2,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    TILE_M: tl.constexpr,
    TILE_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write dq of one tile of queries, and for each entry of its list the share of dk and dv."""
    own = tl.program_id(0)
    tiles = tl.cdiv(n, TILE_M)
    bh = ((first_tile + own) // tiles).to(tl.int64)
    start_m = (first_tile + own) % tiles * TILE_M
    at = Lists + (bh * query_blocks + start_m // BLOCK_Q) * listed
    first = bh // group * rows
    q = _load_tile(Q + bh * n * D, start_m, n, D, 1, TILE_M, D, BLOCK_D, True)
    grad = _load_tile(Grad + bh * n * D, start_m, n, D, 1, TILE_M, D, BLOCK_D, True)
    out = _load_tile(Out + bh * n * D, start_m, n, D, 1, TILE_M, D, BLOCK_D, True)
    delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
    queries = start_m + tl.arange(0, TILE_M)
    lse_log2 = tl.load(LSE + bh * n + queries, mask=queries < n, other=0.0)
    entries = own.to(tl.int64) * listed * D
    acc = tl.zeros([TILE_M, BLOCK_D], tl.float32)
    numbers = _numbers(at, 0, listed, rows, TILE_N)
    for start in range(0, listed, TILE_N):
        k = _gather(K + first * D, numbers, D, BLOCK_D)
        v = _gather(V + first * D, numbers, D, BLOCK_D)
        bias = tl.load(Bias + first + numbers) * 1.4426950408889634
        numbers = _numbers(at, start + TILE_N, listed, rows, TILE_N)
        scores = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale_log2 + bias[:, None]
        weights = tl.exp2(scores - lse_log2[None, :])  # [TILE_N, TILE_M]
        dv = tl.dot(weights.to(grad.dtype), grad, input_precision=PRECISION)
        _store_tile(EntriesV + entries, dv, start, listed, TILE_N, D, BLOCK_D)
        d_weights = tl.dot(v, tl.trans(grad), input_precision=PRECISION)
        d_scores = (weights * (d_weights - delta[None, :])).to(q.dtype)
        dk = tl.dot(d_scores, q, input_precision=PRECISION) * scale
        _store_tile(EntriesK + entries, dk, start, listed, TILE_N, D, BLOCK_D)
        acc = tl.dot(tl.trans(d_scores), k, acc, input_precision=PRECISION)
    _store_tile(DQ + bh * n * D, acc * scale, start_m, n, TILE_M, D, BLOCK_D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def summary_attention_sum_kernel(
    EntriesK,
    EntriesV,
    Places,
    Offsets,
    DK,
    DV,
    rows,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    STEP: tl.constexpr,
):
    """Add to the gradient of one row those of its entries, in the order of their places.

    Rows without entries and the row that is nothing are left alone.
    """
    row = tl.program_id(0)
    first, last = tl.load(Offsets + row), tl.load(Offsets + row + 1)
    if (first < last) & (row % rows != rows - 1):
        columns = tl.arange(0, BLOCK_D)
        dk = tl.zeros([STEP, BLOCK_D], tl.float32)
        dv = tl.zeros([STEP, BLOCK_D], tl.float32)
        for start in range(first, last, STEP):
            at = start + tl.arange(0, STEP)
            place = tl.load(Places + at, mask=at < last, other=0).to(tl.int64) * D
            offsets = place[:, None] + columns[None, :]
            inside = (at < last)[:, None] & (columns < D)[None, :]
            dk += tl.load(EntriesK + offsets, mask=inside, other=0.0)
            dv += tl.load(EntriesV + offsets, mask=inside, other=0.0)
        own = row.to(tl.int64) * D + columns
        real = columns < D
        dk_own = tl.load(DK + own, mask=real, other=0.0) + tl.sum(dk, 0)
        dv_own = tl.load(DV + own, mask=real, other=0.0) + tl.sum(dv, 0)
        tl.store(DK + own, dk_own, mask=real)
        tl.store(DV + own, dv_own, mask=real)
