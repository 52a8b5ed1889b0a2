"""Triton kernels of the linear branch: states, output, gradient of q, gradients of k and v.

States are d by d in float32. For float16 and bfloat16 inputs their products run in TF32: a state
sums over all tokens, which float16 cannot hold and bfloat16 rounds too much. A span is a run of
tokens that one program sums over: a block where the scope goes by blocks, else a share of all.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.sparse.kernels import _load_tile, _store_tile

LENGTHS = ["n", "m", "span", "spans", "heads", "group", "rows_per_head", "key_rows"]


@triton.jit
@no_type_check
def _features(x, inside, FEATURE: tl.constexpr):
    """The feature map of each row; zero outside `inside`."""
    if FEATURE == "softmax":
        x = tl.where(inside, x, float("-inf"))
        top = tl.max(x, 1)
        top = tl.where(top == float("-inf"), 0.0, top)
        weights = tl.exp(x - top[:, None])
        total = tl.sum(weights, 1)
        phi = weights / tl.where(total == 0.0, 1.0, total)[:, None]
    elif FEATURE == "elu1":
        phi = tl.where(x > 0, x + 1.0, tl.exp(tl.minimum(x, 0.0)))
    else:
        phi = tl.maximum(x, 0.0)
    return tl.where(inside, phi, 0.0)


@triton.jit
@no_type_check
def _pull_back(x, phi, grad, FEATURE: tl.constexpr):
    """The gradient of x, given phi(x) and the gradient of phi."""
    if FEATURE == "softmax":
        return phi * (grad - tl.sum(grad * phi, 1)[:, None])
    if FEATURE == "elu1":
        return tl.where(x > 0, grad, grad * phi)
    return tl.where(x > 0, grad, 0.0)


@triton.jit
@no_type_check
def _inside(start, limit, ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """The elements of a tile that are tokens and columns."""
    tokens = start + tl.arange(0, ROWS) < limit
    return tokens[:, None] & (tl.arange(0, BLOCK_D) < D)[None, :]


@triton.jit
@no_type_check
def _matrix(base, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to a d by d matrix and which of them are real."""
    at = tl.arange(0, BLOCK_D)
    inside = (at < D)[:, None] & (at < D)[None, :]
    return base + at[:, None] * D + at[None, :], inside


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _linear_state_kernel(
    K,
    V,
    States,
    Sums,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_kd,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_vd,
    m,
    heads,
    span,
    spans,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILE: tl.constexpr,
    FEATURE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sum phi(k)^T v and phi(k) over one span of keys; `heads` are those of k."""
    run = tl.program_id(0)
    bg = tl.program_id(1).to(tl.int64)
    b, g = bg // heads, bg % heads
    k_head, v_head = K + b * stride_kb + g * stride_kh, V + b * stride_vb + g * stride_vh
    state = tl.zeros([BLOCK_D, BLOCK_D], tl.float32)
    total = tl.zeros([BLOCK_D], tl.float32)
    end = tl.minimum(m, (run + 1) * span)
    for start in range(run * span, end, TILE):
        inside = _inside(start, end, TILE, D, BLOCK_D)
        k = _load_tile(k_head, start, end, stride_kn, stride_kd, TILE, D, BLOCK_D, True)
        v = _load_tile(v_head, start, end, stride_vn, stride_vd, TILE, D, BLOCK_D, True)
        phi = _features(k.to(tl.float32), inside, FEATURE)
        state = tl.dot(tl.trans(phi), v.to(tl.float32), state, input_precision=PRECISION)
        total += tl.sum(phi, 0)
    at = bg * spans + run
    pointers, inside = _matrix(States + at * D * D, D, BLOCK_D)
    tl.store(pointers, state, mask=inside)
    columns = tl.arange(0, BLOCK_D)
    tl.store(Sums + at * D + columns, total, mask=columns < D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _linear_fwd_kernel(
    Q,
    States,
    Sums,
    Bias,
    Base,
    Out,
    stride_qb,
    stride_qh,
    stride_qn,
    stride_qd,
    stride_bb,
    stride_bh,
    stride_bn,
    stride_bd,
    n,
    heads,
    group,
    rows_per_head,
    eps,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    TILE: tl.constexpr,
    FEATURE: tl.constexpr,
    PRECISION: tl.constexpr,
    SCOPED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """Divide phi(q) state by phi(q) sum, and add bias and base."""
    start = tl.program_id(0) * TILE
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // heads, bh % heads
    inside = _inside(start, n, TILE, D, BLOCK_D)
    q_head = Q + b * stride_qb + h * stride_qh
    q = _load_tile(q_head, start, n, stride_qn, stride_qd, TILE, D, BLOCK_D, True)
    phi = _features(q.to(tl.float32), inside, FEATURE)
    at = bh * rows_per_head + start // BLOCK_Q if SCOPED else bh // group
    columns = tl.arange(0, BLOCK_D)
    pointers, real = _matrix(States + at * D * D, D, BLOCK_D)
    state = tl.load(pointers, mask=real, other=0.0)
    sums = tl.load(Sums + at * D + columns, mask=columns < D, other=0.0)
    total = tl.sum(phi * sums[None, :], 1) + eps
    total = tl.where(total == 0.0, float("inf"), total)
    out = tl.dot(phi, state, input_precision=PRECISION) / total[:, None]
    if HAS_BIAS:
        out += tl.load(Bias + columns, mask=columns < D, other=0.0).to(tl.float32)[None, :]
    if HAS_BASE:
        b_head = Base + b * stride_bb + h * stride_bh
        base = _load_tile(b_head, start, n, stride_bn, stride_bd, TILE, D, BLOCK_D, True)
        out += base.to(tl.float32)
    _store_tile(Out + bh * n * D, out, start, n, TILE, D, BLOCK_D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _linear_bwd_q_kernel(
    Grad,
    Q,
    States,
    Sums,
    DQ,
    DStates,
    DSums,
    stride_gb,
    stride_gh,
    stride_gn,
    stride_gd,
    stride_qb,
    stride_qh,
    stride_qn,
    stride_qd,
    n,
    heads,
    group,
    span,
    spans,
    eps,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILE: tl.constexpr,
    FEATURE: tl.constexpr,
    PRECISION: tl.constexpr,
    SCOPED: tl.constexpr,
):
    """Write dq over one span of queries, and the span's share of the gradient of its state."""
    run = tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // heads, bh % heads
    g_head, q_head = Grad + b * stride_gb + h * stride_gh, Q + b * stride_qb + h * stride_qh
    at = bh * spans + run if SCOPED else bh // group
    columns = tl.arange(0, BLOCK_D)
    pointers, real = _matrix(States + at * D * D, D, BLOCK_D)
    state = tl.load(pointers, mask=real, other=0.0)
    sums = tl.load(Sums + at * D + columns, mask=columns < D, other=0.0)
    d_state = tl.zeros([BLOCK_D, BLOCK_D], tl.float32)
    d_sums = tl.zeros([BLOCK_D], tl.float32)
    end = tl.minimum(n, (run + 1) * span)
    for start in range(run * span, end, TILE):
        inside = _inside(start, end, TILE, D, BLOCK_D)
        q = _load_tile(q_head, start, end, stride_qn, stride_qd, TILE, D, BLOCK_D, True)
        grad = _load_tile(g_head, start, end, stride_gn, stride_gd, TILE, D, BLOCK_D, True)
        q = q.to(tl.float32)
        phi = _features(q, inside, FEATURE)
        total = tl.sum(phi * sums[None, :], 1) + eps
        total = tl.where(total == 0.0, float("inf"), total)
        d_num = grad.to(tl.float32) / total[:, None]
        num = tl.dot(phi, state, input_precision=PRECISION)
        d_total = -tl.sum(num * d_num, 1) / total
        d_phi = tl.dot(d_num, tl.trans(state), input_precision=PRECISION)
        d_phi += d_total[:, None] * sums[None, :]
        d_state = tl.dot(tl.trans(phi), d_num, d_state, input_precision=PRECISION)
        d_sums += tl.sum(phi * d_total[:, None], 0)
        dq = _pull_back(q, phi, d_phi, FEATURE)
        _store_tile(DQ + bh * n * D, dq, start, end, TILE, D, BLOCK_D)
    out = bh * spans + run
    pointers, real = _matrix(DStates + out * D * D, D, BLOCK_D)
    tl.store(pointers, d_state, mask=real)
    tl.store(DSums + out * D + columns, d_sums, mask=columns < D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _linear_bwd_kv_kernel(
    K,
    V,
    DStates,
    DSums,
    DK,
    DV,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_kd,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_vd,
    m,
    heads,
    key_rows,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TILE: tl.constexpr,
    FEATURE: tl.constexpr,
    PRECISION: tl.constexpr,
    SCOPED: tl.constexpr,
):
    """Write dk and dv of one tile from the gradient of its state; `heads` are those of k."""
    start = tl.program_id(0) * TILE
    bg = tl.program_id(1).to(tl.int64)
    b, g = bg // heads, bg % heads
    k_head, v_head = K + b * stride_kb + g * stride_kh, V + b * stride_vb + g * stride_vh
    inside = _inside(start, m, TILE, D, BLOCK_D)
    k = _load_tile(k_head, start, m, stride_kn, stride_kd, TILE, D, BLOCK_D, True).to(tl.float32)
    v = _load_tile(v_head, start, m, stride_vn, stride_vd, TILE, D, BLOCK_D, True).to(tl.float32)
    at = bg * key_rows + start // BLOCK_K if SCOPED else bg
    columns = tl.arange(0, BLOCK_D)
    pointers, real = _matrix(DStates + at * D * D, D, BLOCK_D)
    d_state = tl.load(pointers, mask=real, other=0.0)
    d_sums = tl.load(DSums + at * D + columns, mask=columns < D, other=0.0)
    phi = _features(k, inside, FEATURE)
    d_phi = tl.dot(v, tl.trans(d_state), input_precision=PRECISION) + d_sums[None, :]
    _store_tile(DK + bg * m * D, _pull_back(k, phi, d_phi, FEATURE), start, m, TILE, D, BLOCK_D)
    dv = tl.dot(phi, d_state, input_precision=PRECISION)
    _store_tile(DV + bg * m * D, dv, start, m, TILE, D, BLOCK_D)
