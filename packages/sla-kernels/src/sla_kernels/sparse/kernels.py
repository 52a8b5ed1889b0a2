"""Triton kernel of the sparse branch, and what the kernels of its gradients share with it.

A program walks the list of its query block. Keys from `free` on are pinned: every program walks
them after its list. Lists ascend, so only the last entry can be the short block; all others run
without a mask. A block's number is loaded one turn before its keys, which otherwise could not be
loaded ahead: their address would wait for the number. Lengths are plain arguments, never compiled
in. Offsets of tiles are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _head, _load_tile, _program, _store_tile

LENGTHS = ["n", "free", "m", "heads", "group", "kept", "query_blocks", "key_blocks"]


@triton.jit
@no_type_check
def _query_tile(
    Indices, Counts, n, kept, query_blocks, BLOCK_Q: tl.constexpr, TILE_M: tl.constexpr
):
    """Where this program's queries start, in which head, and the list they walk."""
    tile, bh = _program(tl.cdiv(n, TILE_M))
    start_m = tile * TILE_M
    row = bh * query_blocks + start_m // BLOCK_Q
    return start_m, bh, Indices + row * kept, tl.load(Counts + row)


@triton.jit
@no_type_check
def _last_tile(t, number, count, free, m, BLOCK_K: tl.constexpr, TILE_N: tl.constexpr):
    """Where the t-th key tile starts, of the last listed block or pinned, and the end of its keys.

    `number` is that of the last listed block.
    """
    parts: tl.constexpr = BLOCK_K // TILE_N
    pinned = t - count * parts
    start = tl.where(pinned < 0, number * BLOCK_K + t % parts * TILE_N, free + pinned * TILE_N)
    return start, tl.where(pinned < 0, free, m)


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
def sparse_attention_forward_kernel(
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
    start_m, bh, listed, count = _query_tile(
        Indices, Counts, n, kept, query_blocks, BLOCK_Q, TILE_M
    )
    q_head = _head(Q, bh, heads, 1, stride_qb, stride_qh)
    k_head = _head(K, bh, heads, group, stride_kb, stride_kh)
    v_head = _head(V, bh, heads, group, stride_vb, stride_vh)
    q = _load_tile(q_head, start_m, n, stride_qn, stride_qd, TILE_M, D, BLOCK_D, True)
    acc = tl.zeros([TILE_M, BLOCK_D], tl.float32)
    top = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    parts: tl.constexpr = BLOCK_K // TILE_N
    whole = (count - 1) * parts
    number = tl.load(listed)
    for t in range(0, whole):
        start = number * BLOCK_K + t % parts * TILE_N
        number = tl.load(listed + (t + 1) // parts)
        acc, top, total = _attend(
            q, acc, top, total, k_head, v_head, start, free, stride_kn, stride_kd, stride_vn,
            stride_vd, scale_log2, TILE_N, D, BLOCK_D, PRECISION, False,
        )  # fmt: skip
    for t in range(whole, count * parts + tl.cdiv(m - free, TILE_N)):
        start, end = _last_tile(t, number, count, free, m, BLOCK_K, TILE_N)
        acc, top, total = _attend(
            q, acc, top, total, k_head, v_head, start, end, stride_kn, stride_kd, stride_vn,
            stride_vd, scale_log2, TILE_N, D, BLOCK_D, PRECISION, True,
        )  # fmt: skip
    _store_tile(Out + bh * n * D, acc / total[:, None], start_m, n, TILE_M, D, BLOCK_D)
    rows = start_m + tl.arange(0, TILE_M)
    lse = (top + tl.log2(total)) * 0.6931471805599453
    tl.store(LSE + bh * n + rows, lse, mask=rows < n)
