"""Triton kernels of the sparse branch: forward, gradient of q, gradients of k and v.

A program walks the list of its query block (forward, dq) or of its key block (dk, dv). Keys from
`free` on are pinned: every program walks them after its list. Lists ascend, so only the last entry
can be the short block; all others run without a mask. Lengths are plain arguments, never compiled
in. Offsets of tiles are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

LENGTHS = ["n", "free", "m", "heads", "group", "kept", "query_blocks", "key_blocks"]


@triton.jit
@no_type_check
def _load_tile(
    base,
    start,
    limit,
    stride_n,
    stride_d,
    ROWS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Load ROWS tokens from `start`; tokens from `limit` on are zero, and so is padding of D."""
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK_D)
    tile = base + tl.cast(start, tl.int64) * stride_n
    pointers = tile + rows[:, None] * stride_n + columns[None, :] * stride_d
    if MASKED:
        inside = (start + rows < limit)[:, None] & (columns < D)[None, :]
        return tl.load(pointers, mask=inside, other=0.0)
    if D < BLOCK_D:
        return tl.load(pointers, mask=(columns < D)[None, :], other=0.0)
    return tl.load(pointers)


@triton.jit
@no_type_check
def _store_tile(
    base, values, start, limit, ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Store tokens of a contiguous head, those before `limit`."""
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK_D)
    tile = base + tl.cast(start, tl.int64) * D
    inside = (start + rows < limit)[:, None] & (columns < D)[None, :]
    values = values.to(base.dtype.element_ty)
    tl.store(tile + rows[:, None] * D + columns[None, :], values, mask=inside)


@triton.jit
@no_type_check
def _key_tile(t, listed, count, free, m, BLOCK_K: tl.constexpr, TILE_N: tl.constexpr):
    """Where the t-th key tile of a query block starts, and the end of the keys it may see."""
    parts: tl.constexpr = BLOCK_K // TILE_N
    from_list = t < count * parts
    block = tl.load(listed + t // parts, mask=from_list, other=0)
    start = tl.where(
        from_list,
        block * BLOCK_K + (t % parts) * TILE_N,
        free + (t - count * parts) * TILE_N,
    )
    return start, tl.where(from_list, free, m)


@triton.jit
@no_type_check
def _attend(
    q,
    acc,
    top,
    total,
    k_head,
    v_head,
    start,
    end,
    stride_kn,
    stride_kd,
    stride_vn,
    stride_vd,
    scale_log2,
    TILE_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One step of the running softmax, in powers of two."""
    k = _load_tile(k_head, start, end, stride_kn, stride_kd, TILE_N, D, BLOCK_D, MASKED)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2  # [TILE_M, TILE_N]
    if MASKED:
        scores = tl.where((start + tl.arange(0, TILE_N) < end)[None, :], scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1))
    weights = tl.exp2(scores - new_top[:, None])
    shrink = tl.exp2(top - new_top)
    total = total * shrink + tl.sum(weights, 1)
    v = _load_tile(v_head, start, end, stride_vn, stride_vd, TILE_N, D, BLOCK_D, MASKED)
    acc = acc * shrink[:, None]
    acc = tl.dot(weights.to(v.dtype), v, acc, input_precision=PRECISION)
    return acc, new_top, total


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _sparse_fwd_kernel(
    Q,
    K,
    V,
    Out,
    LSE,
    Indices,
    Counts,
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
    scale_log2,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TILE_M: tl.constexpr,
    TILE_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    start_m = tl.program_id(0) * TILE_M
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // heads, bh % heads
    k_head = K + b * stride_kb + (h // group) * stride_kh
    v_head = V + b * stride_vb + (h // group) * stride_vh
    row = bh * query_blocks + start_m // BLOCK_Q
    listed, count = Indices + row * kept, tl.load(Counts + row)
    q = _load_tile(
        Q + b * stride_qb + h * stride_qh, start_m, n, stride_qn, stride_qd,
        TILE_M, D, BLOCK_D, True,
    )  # fmt: skip
    acc = tl.zeros([TILE_M, BLOCK_D], tl.float32)
    top = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    parts: tl.constexpr = BLOCK_K // TILE_N
    whole = (count - 1) * parts
    for t in range(0, whole):
        start = tl.load(listed + t // parts) * BLOCK_K + (t % parts) * TILE_N
        acc, top, total = _attend(
            q, acc, top, total, k_head, v_head, start, free, stride_kn, stride_kd, stride_vn,
            stride_vd, scale_log2, TILE_N, D, BLOCK_D, PRECISION, False,
        )  # fmt: skip
    for t in range(whole, count * parts + tl.cdiv(m - free, TILE_N)):
        start, end = _key_tile(t, listed, count, free, m, BLOCK_K, TILE_N)
        acc, top, total = _attend(
            q, acc, top, total, k_head, v_head, start, end, stride_kn, stride_kd, stride_vn,
            stride_vd, scale_log2, TILE_N, D, BLOCK_D, PRECISION, True,
        )  # fmt: skip
    _store_tile(Out + bh * n * D, acc / total[:, None], start_m, n, TILE_M, D, BLOCK_D)
    rows = start_m + tl.arange(0, TILE_M)
    lse = (top + tl.log2(total)) * 0.6931471805599453
    tl.store(LSE + bh * n + rows, lse, mask=rows < n)


@triton.jit
@no_type_check
def _pull_back_q(
    q,
    grad,
    lse_log2,
    delta,
    acc,
    k_head,
    v_head,
    start,
    end,
    stride_kn,
    stride_kd,
    stride_vn,
    stride_vd,
    scale_log2,
    TILE_N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Add one key tile's share of the gradient of q."""
    k = _load_tile(k_head, start, end, stride_kn, stride_kd, TILE_N, D, BLOCK_D, MASKED)
    v = _load_tile(v_head, start, end, stride_vn, stride_vd, TILE_N, D, BLOCK_D, MASKED)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
    if MASKED:
        scores = tl.where((start + tl.arange(0, TILE_N) < end)[None, :], scores, float("-inf"))
    weights = tl.exp2(scores - lse_log2[:, None])
    d_weights = tl.dot(grad, tl.trans(v), input_precision=PRECISION)
    d_scores = weights * (d_weights - delta[:, None])
    return tl.dot(d_scores.to(k.dtype), k, acc, input_precision=PRECISION)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _sparse_bwd_q_kernel(
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
    PRECISION: tl.constexpr,
):
    """Write dq and delta, the products out . grad of each query, which dk needs."""
    start_m = tl.program_id(0) * TILE_M
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // heads, bh % heads
    k_head = K + b * stride_kb + (h // group) * stride_kh
    v_head = V + b * stride_vb + (h // group) * stride_vh
    row = bh * query_blocks + start_m // BLOCK_Q
    listed, count = Indices + row * kept, tl.load(Counts + row)
    q_head, g_head = Q + b * stride_qb + h * stride_qh, Grad + b * stride_gb + h * stride_gh
    out_head = Out + b * stride_ob + h * stride_oh
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
    for t in range(0, whole):
        start = tl.load(listed + t // parts) * BLOCK_K + (t % parts) * TILE_N
        acc = _pull_back_q(
            q, grad, lse_log2, delta, acc, k_head, v_head, start, free, stride_kn, stride_kd,
            stride_vn, stride_vd, scale_log2, TILE_N, D, BLOCK_D, PRECISION, False,
        )  # fmt: skip
    for t in range(whole, count * parts + tl.cdiv(m - free, TILE_N)):
        start, end = _key_tile(t, listed, count, free, m, BLOCK_K, TILE_N)
        acc = _pull_back_q(
            q, grad, lse_log2, delta, acc, k_head, v_head, start, end, stride_kn, stride_kd,
            stride_vn, stride_vd, scale_log2, TILE_N, D, BLOCK_D, PRECISION, True,
        )  # fmt: skip
    _store_tile(DQ + bh * n * D, acc * scale, start_m, n, TILE_M, D, BLOCK_D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _sparse_bwd_kv_kernel(
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
    bg = tl.program_id(1).to(tl.int64)
    key_heads = heads // group
    b, g = bg // key_heads, bg % key_heads
    tile = tl.program_id(0)
    pinned_tiles = tl.cdiv(m - free, TILE_N)
    listed = tile >= pinned_tiles
    at = tl.where(listed, (tile - pinned_tiles) // parts, 0)
    block = tl.load(Order + bg * key_blocks + at)
    start_n = tl.where(
        listed, block * BLOCK_K + ((tile - pinned_tiles) % parts) * TILE_N, free + tile * TILE_N
    )
    end = tl.where(listed, free, m)
    k_head, v_head = K + b * stride_kb + g * stride_kh, V + b * stride_vb + g * stride_vh
    k = _load_tile(k_head, start_n, end, stride_kn, stride_kd, TILE_N, D, BLOCK_D, True)
    v = _load_tile(v_head, start_n, end, stride_vn, stride_vd, TILE_N, D, BLOCK_D, True)
    dk = tl.zeros([TILE_N, BLOCK_D], tl.float32)
    dv = tl.zeros([TILE_N, BLOCK_D], tl.float32)
    for member in range(0, group):
        h = g * group + member
        bh = b * heads + h
        q_head, g_head = Q + b * stride_qb + h * stride_qh, Grad + b * stride_gb + h * stride_gh
        column = Offsets + bh * (key_blocks + 1) + block
        first = tl.where(listed, tl.load(column), 0)
        last = tl.where(listed, tl.load(column + 1), query_blocks)
        rows_of = Rows + bh * query_blocks * kept
        for t in range(first * pieces, last * pieces):
            row = tl.load(rows_of + t // pieces, mask=listed, other=0)
            row = tl.where(listed, row, t // pieces)
            start_m = row * BLOCK_Q + (t % pieces) * TILE_M
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
