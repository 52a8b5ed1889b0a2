"""Triton kernels of the linear branch: states, output, gradient of q, gradients of k and v.

States are d by d in float32. For float16 and bfloat16 inputs their products run in TF32: a state
sums over all tokens, which float16 cannot hold and bfloat16 rounds too much. A span is a run of
tokens that one program sums over: a block where the scope goes by blocks, else a share of all.
States are taken PART columns at a time, so that wide heads fit the shared memory.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _head, _program

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
def _load_part(
    base, start, limit, column, stride_n, stride_d,
    ROWS: tl.constexpr, PART: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Load PART columns of ROWS tokens in float32; zero beyond the last token and column."""
    rows = tl.arange(0, ROWS)
    columns = column + tl.arange(0, PART)
    tile = base + tl.cast(start, tl.int64) * stride_n
    inside = (start + rows < limit)[:, None] & (columns < D)[None, :]
    pointers = tile + rows[:, None] * stride_n + columns[None, :] * stride_d
    return tl.load(pointers, mask=inside, other=0.0).to(tl.float32)


@triton.jit
@no_type_check
def _store_part(
    base, values, start, limit, column,
    ROWS: tl.constexpr, PART: tl.constexpr, D: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """Store, or add to what is there, PART columns of tokens of a contiguous head."""
    rows = tl.arange(0, ROWS)
    columns = column + tl.arange(0, PART)
    inside = (start + rows < limit)[:, None] & (columns < D)[None, :]
    pointers = base + tl.cast(start, tl.int64) * D + rows[:, None] * D + columns[None, :]
    if ADD:
        values += tl.load(pointers, mask=inside, other=0.0).to(tl.float32)
    tl.store(pointers, values.to(base.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def _state_part(base, column, D: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr):
    """Pointers to PART columns of a d by d state, and which of them are real."""
    rows = tl.arange(0, BLOCK_D)
    columns = column + tl.arange(0, PART)
    inside = (rows < D)[:, None] & (columns < D)[None, :]
    return base + rows[:, None] * D + columns[None, :], inside


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def linear_attention_state_kernel(
    X, Y, Total, DTotal, States, Sums,
    stride_xb, stride_xh, stride_xn, stride_xd,
    stride_yb, stride_yh, stride_yn, stride_yd,
    m, heads, span, spans,
    D: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr, TILE: tl.constexpr,
    FEATURE: tl.constexpr, PRECISION: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """Sum phi(x)^T y and phi(x) over one span of tokens, for PART columns of y.

    Forward, x and y are keys and values. Backward (SCALED) they are queries and gradients, y is
    divided by the query's denominator and phi(x) is weighted by the denominator's gradient.
    """
    run, bh = _program(spans)
    column = tl.program_id(1) * PART
    x_head = _head(X, bh, heads, 1, stride_xb, stride_xh)
    y_head = _head(Y, bh, heads, 1, stride_yb, stride_yh)
    state = tl.zeros([BLOCK_D, PART], tl.float32)
    sums = tl.zeros([BLOCK_D], tl.float32)
    end = tl.minimum(m, (run + 1) * span)
    for start in range(run * span, end, TILE):
        x = _load_part(x_head, start, end, 0, stride_xn, stride_xd, TILE, BLOCK_D, D)
        y = _load_part(y_head, start, end, column, stride_yn, stride_yd, TILE, PART, D)
        phi = _features(x, _inside(start, end, TILE, D, BLOCK_D), FEATURE)
        if SCALED:
            rows = start + tl.arange(0, TILE)
            y = y / tl.load(Total + bh * m + rows, mask=rows < end, other=1.0)[:, None]
            d_total = tl.load(DTotal + bh * m + rows, mask=rows < end, other=0.0)
            sums += tl.sum(phi * d_total[:, None], 0)
        else:
            sums += tl.sum(phi, 0)
        state = tl.dot(tl.trans(phi), y, state, input_precision=PRECISION)
    at = bh * spans + run
    pointers, inside = _state_part(States + at * D * D, column, D, BLOCK_D, PART)
    tl.store(pointers, state, mask=inside)
    if column == 0:
        columns = tl.arange(0, BLOCK_D)
        tl.store(Sums + at * D + columns, sums, mask=columns < D)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def linear_attention_forward_kernel(
    Q, States, Sums, Bias, Base, Out,
    stride_qb, stride_qh, stride_qn, stride_qd,
    stride_bb, stride_bh, stride_bn, stride_bd,
    n, heads, group, rows_per_head, eps,
    D: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr, BLOCK_Q: tl.constexpr,
    TILE: tl.constexpr, FEATURE: tl.constexpr, PRECISION: tl.constexpr, SCOPED: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_BASE: tl.constexpr,
):  # fmt: skip
    """Divide phi(q) state by phi(q) sum, and add bias and base, for PART columns."""
    tile, bh = _program(tl.cdiv(n, TILE))
    start, column = tile * TILE, tl.program_id(1) * PART
    q_head = _head(Q, bh, heads, 1, stride_qb, stride_qh)
    q = _load_part(q_head, start, n, 0, stride_qn, stride_qd, TILE, BLOCK_D, D)
    phi = _features(q, _inside(start, n, TILE, D, BLOCK_D), FEATURE)
    at = bh * rows_per_head + start // BLOCK_Q if SCOPED else bh // group
    rows, columns = tl.arange(0, BLOCK_D), column + tl.arange(0, PART)
    pointers, real = _state_part(States + at * D * D, column, D, BLOCK_D, PART)
    state = tl.load(pointers, mask=real, other=0.0)
    sums = tl.load(Sums + at * D + rows, mask=rows < D, other=0.0)
    total = tl.sum(phi * sums[None, :], 1) + eps
    total = tl.where(total == 0.0, float("inf"), total)
    out = tl.dot(phi, state, input_precision=PRECISION) / total[:, None]
    if HAS_BIAS:
        out += tl.load(Bias + columns, mask=columns < D, other=0.0).to(tl.float32)[None, :]
    if HAS_BASE:
        b_head = _head(Base, bh, heads, 1, stride_bb, stride_bh)
        out += _load_part(b_head, start, n, column, stride_bn, stride_bd, TILE, PART, D)
    _store_part(Out + bh * n * D, out, start, n, column, TILE, PART, D, False)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def linear_attention_backward_q_kernel(
    Grad, Q, States, Sums, DQ, Total, DTotal,
    stride_gb, stride_gh, stride_gn, stride_gd,
    stride_qb, stride_qh, stride_qn, stride_qd,
    n, heads, group, rows_per_head, eps,
    D: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr, BLOCK_Q: tl.constexpr,
    TILE: tl.constexpr, FEATURE: tl.constexpr, PRECISION: tl.constexpr, SCOPED: tl.constexpr,
    ADD: tl.constexpr,
):  # fmt: skip
    """Write dq, the denominators and their gradients, which the gradient of the state needs."""
    tile, bh = _program(tl.cdiv(n, TILE))
    start = tile * TILE
    g_head = _head(Grad, bh, heads, 1, stride_gb, stride_gh)
    q_head = _head(Q, bh, heads, 1, stride_qb, stride_qh)
    q = _load_part(q_head, start, n, 0, stride_qn, stride_qd, TILE, BLOCK_D, D)
    phi = _features(q, _inside(start, n, TILE, D, BLOCK_D), FEATURE)
    at = bh * rows_per_head + start // BLOCK_Q if SCOPED else bh // group
    columns = tl.arange(0, BLOCK_D)
    sums = tl.load(Sums + at * D + columns, mask=columns < D, other=0.0)
    total = tl.sum(phi * sums[None, :], 1) + eps
    total = tl.where(total == 0.0, float("inf"), total)
    d_total = tl.zeros([TILE], tl.float32)
    d_phi = tl.zeros([TILE, BLOCK_D], tl.float32)
    for column in range(0, BLOCK_D, PART):  # not unrolled, which would spill wide heads
        grad = _load_part(g_head, start, n, column, stride_gn, stride_gd, TILE, PART, D)
        d_num = grad / total[:, None]
        pointers, real = _state_part(States + at * D * D, column, D, BLOCK_D, PART)
        state = tl.load(pointers, mask=real, other=0.0)
        num = tl.dot(phi, state, input_precision=PRECISION)
        d_total -= tl.sum(num * d_num, 1) / total
        d_phi = tl.dot(d_num, tl.trans(state), d_phi, input_precision=PRECISION)
    d_phi += d_total[:, None] * sums[None, :]
    dq = _pull_back(q, phi, d_phi, FEATURE)
    _store_part(DQ + bh * n * D, dq, start, n, 0, TILE, BLOCK_D, D, ADD)
    rows = start + tl.arange(0, TILE)
    tl.store(Total + bh * n + rows, total, mask=rows < n)
    tl.store(DTotal + bh * n + rows, d_total, mask=rows < n)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def linear_attention_backward_kv_kernel(
    K, V, DStates, DSums, DK, DV,
    stride_kb, stride_kh, stride_kn, stride_kd,
    stride_vb, stride_vh, stride_vn, stride_vd,
    m, heads, key_rows,
    D: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr, BLOCK_K: tl.constexpr,
    TILE: tl.constexpr, FEATURE: tl.constexpr, PRECISION: tl.constexpr, SCOPED: tl.constexpr,
    ADD: tl.constexpr,
):  # fmt: skip
    """Write dk and dv of one tile from the gradient of its state; `heads` are those of k."""
    tile, bg = _program(tl.cdiv(m, TILE))
    start = tile * TILE
    k_head = _head(K, bg, heads, 1, stride_kb, stride_kh)
    v_head = _head(V, bg, heads, 1, stride_vb, stride_vh)
    k = _load_part(k_head, start, m, 0, stride_kn, stride_kd, TILE, BLOCK_D, D)
    phi = _features(k, _inside(start, m, TILE, D, BLOCK_D), FEATURE)
    at = bg * key_rows + start // BLOCK_K if SCOPED else bg
    columns = tl.arange(0, BLOCK_D)
    d_sums = tl.load(DSums + at * D + columns, mask=columns < D, other=0.0)
    d_phi = tl.zeros([TILE, BLOCK_D], tl.float32) + d_sums[None, :]
    for column in range(0, BLOCK_D, PART):  # not unrolled, which would spill wide heads
        v = _load_part(v_head, start, m, column, stride_vn, stride_vd, TILE, PART, D)
        pointers, real = _state_part(DStates + at * D * D, column, D, BLOCK_D, PART)
        d_state = tl.load(pointers, mask=real, other=0.0)
        d_phi = tl.dot(v, tl.trans(d_state), d_phi, input_precision=PRECISION)
        dv = tl.dot(phi, d_state, input_precision=PRECISION)
        _store_part(DV + bg * m * D, dv, start, m, column, TILE, PART, D, ADD)
    dk = _pull_back(k, phi, d_phi, FEATURE)
    _store_part(DK + bg * m * D, dk, start, m, 0, TILE, BLOCK_D, D, ADD)
