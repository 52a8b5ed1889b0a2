"""Triton kernels of the sparse branch's gradients: one for q, one for k and v.

The first walks the list of a query block, as the forward kernel does. The second walks the column
of a key block: the query blocks that attend it, or all of them where the keys are pinned.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _head, _load_columns, _load_tile, _program, _store_tile
from sla_kernels.sparse.kernels import LENGTHS, _last_tile, _query_tile


@triton.jit
@no_type_check
def _products(
    a,
    a_head,
    start_a,
    end_a,
    stride_an,
    stride_ad,
    b,
    b_head,
    start_b,
    end_b,
    stride_bn,
    stride_bd,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The products of two tiles of tokens, which were loaded from `a_head` and `b_head`.

    Where PART says so, they are loaded again, PART columns at a time: wide queries in float32 and
    their gradients, each split in parts of TF32, fill the registers if they stay in them.
    """
    if PART == BLOCK_D:
        return tl.dot(a, tl.trans(b), input_precision=PRECISION)
    found = tl.zeros([a.shape[0], b.shape[0]], tl.float32)
    for first in range(0, D, PART):
        some_a = _load_columns(
            a_head, start_a, end_a, first, stride_an, stride_ad, a.shape[0], D, PART
        )
        some_b = _load_columns(
            b_head, start_b, end_b, first, stride_bn, stride_bd, b.shape[0], D, PART
        )
        found = tl.dot(some_a, tl.trans(some_b), found, input_precision=PRECISION)
    return found


@triton.jit
@no_type_check
def _pull_back_q(
    q,
    q_head,
    grad,
    g_head,
    lse_log2,
    delta,
    acc,
    k_head,
    v_head,
    start_m,
    n,
    start,
    end,
    stride_gn,
    stride_gd,
    stride_qn,
    stride_qd,
    stride_kn,
    stride_kd,
    stride_vn,
    stride_vd,
    scale_log2,
    TILE_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Add one key tile's share of the gradient of q."""
    k = _load_tile(k_head, start, end, stride_kn, stride_kd, TILE_N, D, BLOCK_D, MASKED)
    v = _load_tile(v_head, start, end, stride_vn, stride_vd, TILE_N, D, BLOCK_D, MASKED)
    scores = scale_log2 * _products(
        q, q_head, start_m, n, stride_qn, stride_qd, k, k_head, start, end, stride_kn, stride_kd,
        D, BLOCK_D, PART, PRECISION,
    )  # fmt: skip
    if MASKED:
        scores = tl.where((start + tl.arange(0, TILE_N) < end)[None, :], scores, float("-inf"))
    weights = tl.exp2(scores - lse_log2[:, None])
    d_weights = _products(
        grad, g_head, start_m, n, stride_gn, stride_gd, v, v_head, start, end, stride_vn,
        stride_vd, D, BLOCK_D, PART, PRECISION,
    )  # fmt: skip
    d_scores = weights * (d_weights - delta[:, None])
    return tl.dot(d_scores.to(k.dtype), k, acc, input_precision=PRECISION)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def sparse_attention_backward_q_kernel(
    Grad,
    Q,
    K,
    V,
    Out,
    LSE,
    Delta,
    DQ,
    Indices,
    Counts,
    stride_gb,
    stride_gh,
    stride_gn,
    stride_gd,
    stride_qb,
    stride_qh,
    stride_qn,
    stride_qd,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_kd,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_vd,
    stride_ob,
    stride_oh,
    stride_on,
    stride_od,
    n,
    free,
    m,
    heads,
    group,
    kept,
    query_blocks,
    scale,
    scale_log2,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TILE_M: tl.constexpr,
    TILE_N: tl.constexpr,
    PART: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write dq and delta, the products out . grad of each query, which dk needs."""
    start_m, bh, listed, count = _query_tile(
        Indices, Counts, n, kept, query_blocks, BLOCK_Q, TILE_M
    )
    q_head = _head(Q, bh, heads, 1, stride_qb, stride_qh)
    g_head = _head(Grad, bh, heads, 1, stride_gb, stride_gh)
    out_head = _head(Out, bh, heads, 1, stride_ob, stride_oh)
    k_head = _head(K, bh, heads, group, stride_kb, stride_kh)
    v_head = _head(V, bh, heads, group, stride_vb, stride_vh)
    q = _load_tile(q_head, start_m, n, stride_qn, stride_qd, TILE_M, D, BLOCK_D, True)
    grad = _load_tile(g_head, start_m, n, stride_gn, stride_gd, TILE_M, D, BLOCK_D, True)
    out = _load_tile(out_head, start_m, n, stride_on, stride_od, TILE_M, D, BLOCK_D, True)
    delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
    rows = start_m + tl.arange(0, TILE_M)
    tl.store(Delta + bh * n + rows, delta, mask=rows < n)
    lse_log2 = tl.load(LSE + bh * n + rows, mask=rows < n, other=0.0) * 1.4426950408889634
    acc = tl.zeros([TILE_M, BLOCK_D], tl.float32)
    parts: tl.constexpr = BLOCK_K // TILE_N
    whole = (count - 1) * parts
    number = tl.load(listed)
    for t in range(0, whole):
        start = number * BLOCK_K + t % parts * TILE_N
        number = tl.load(listed + (t + 1) // parts)
        acc = _pull_back_q(
            q, q_head, grad, g_head, lse_log2, delta, acc, k_head, v_head, start_m, n, start, free,
            stride_gn, stride_gd, stride_qn, stride_qd, stride_kn, stride_kd, stride_vn, stride_vd,
            scale_log2, TILE_N, D, BLOCK_D, PART, PRECISION, False,
        )  # fmt: skip
    for t in range(whole, count * parts + tl.cdiv(m - free, TILE_N)):
        start, end = _last_tile(t, number, count, free, m, BLOCK_K, TILE_N)
        acc = _pull_back_q(
            q, q_head, grad, g_head, lse_log2, delta, acc, k_head, v_head, start_m, n, start, end,
            stride_gn, stride_gd, stride_qn, stride_qd, stride_kn, stride_kd, stride_vn, stride_vd,
            scale_log2, TILE_N, D, BLOCK_D, PART, PRECISION, True,
        )  # fmt: skip
    _store_tile(DQ + bh * n * D, acc * scale, start_m, n, TILE_M, D, BLOCK_D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def sparse_attention_backward_kv_kernel(
    Grad,
    Q,
    K,
    V,
    LSE,
    Delta,
    DK,
    DV,
    Offsets,
    Rows,
    Order,
    stride_gb,
    stride_gh,
    stride_gn,
    stride_gd,
    stride_qb,
    stride_qh,
    stride_qn,
    stride_qd,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_kd,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_vd,
    n,
    free,
    m,
    heads,
    group,
    kept,
    query_blocks,
    key_blocks,
    scale,
    scale_log2,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TILE_M: tl.constexpr,
    TILE_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write dk and dv of one key tile from the query blocks in its column.

    Pinned tiles, whose column is everything, come first; then columns by falling length.
    """
    parts: tl.constexpr = BLOCK_K // TILE_N
    pieces: tl.constexpr = BLOCK_Q // TILE_M
    pinned_tiles = tl.cdiv(m - free, TILE_N)
    tile, bg = _program(pinned_tiles + key_blocks * parts)
    key_heads = heads // group
    listed = tile >= pinned_tiles
    at = tl.where(listed, (tile - pinned_tiles) // parts, 0)
    block = tl.load(Order + bg * key_blocks + at)
    start_n = tl.where(
        listed, block * BLOCK_K + ((tile - pinned_tiles) % parts) * TILE_N, free + tile * TILE_N
    )
    end = tl.where(listed, free, m)
    k_head = _head(K, bg, key_heads, 1, stride_kb, stride_kh)
    v_head = _head(V, bg, key_heads, 1, stride_vb, stride_vh)
    k = _load_tile(k_head, start_n, end, stride_kn, stride_kd, TILE_N, D, BLOCK_D, True)
    v = _load_tile(v_head, start_n, end, stride_vn, stride_vd, TILE_N, D, BLOCK_D, True)
    dk = tl.zeros([TILE_N, BLOCK_D], tl.float32)
    dv = tl.zeros([TILE_N, BLOCK_D], tl.float32)
    for member in range(0, group):
        bh = bg * group + member
        q_head = _head(Q, bh, heads, 1, stride_qb, stride_qh)
        g_head = _head(Grad, bh, heads, 1, stride_gb, stride_gh)
        column = Offsets + bh * (key_blocks + 1) + block
        first = tl.where(listed, tl.load(column), 0)
        last = tl.where(listed, tl.load(column + 1), query_blocks)
        rows_of = Rows + bh * query_blocks * kept
        number = tl.load(rows_of + first, mask=listed & (first < last), other=0)
        for t in range(first * pieces, last * pieces):
            start_m = tl.where(listed, number, t // pieces) * BLOCK_Q + t % pieces * TILE_M
            following = (t + 1) // pieces
            number = tl.load(rows_of + following, mask=listed & (following < last), other=0)
            q = _load_tile(q_head, start_m, n, stride_qn, stride_qd, TILE_M, D, BLOCK_D, True)
            grad = _load_tile(g_head, start_m, n, stride_gn, stride_gd, TILE_M, D, BLOCK_D, True)
            rows = start_m + tl.arange(0, TILE_M)
            lse = tl.load(LSE + bh * n + rows, mask=rows < n, other=0.0)
            delta = tl.load(Delta + bh * n + rows, mask=rows < n, other=0.0)
            scores = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale_log2
            weights = tl.exp2(scores - lse[None, :] * 1.4426950408889634)  # [TILE_N, TILE_M]
            dv = tl.dot(weights.to(grad.dtype), grad, dv, input_precision=PRECISION)
            d_weights = tl.dot(v, tl.trans(grad), input_precision=PRECISION)
            d_scores = weights * (d_weights - delta[None, :])
            dk = tl.dot(d_scores.to(q.dtype), q, dk, input_precision=PRECISION)
    _store_tile(DK + bg * m * D, dk * scale, start_n, end, TILE_N, D, BLOCK_D)
    _store_tile(DV + bg * m * D, dv, start_n, end, TILE_N, D, BLOCK_D)
