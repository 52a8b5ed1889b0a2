"""The Triton kernels that lay out rows: tokens in order, cells with weighted means, pinned tokens.

Keys and values are read once, where the caller has them. A chunk of tokens writes its rows, the
smallest cells that it holds, and sums from which larger cells are made, relative to its own largest
logit so that no cell's weights vanish together. Lengths are plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _load_ordered, _program

LENGTHS = [
    "tokens", "padded", "pinned", "heads", "cells", "chunks", "rows", "first", "size",
]  # fmt: skip


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def rows_kernel(
    K,
    V,
    Order,
    Outside,
    Tilt,
    Keys,
    Values,
    Bias,
    Sums,
    tokens,
    padded,
    pinned,
    heads,
    cells,
    chunks,
    rows,
    first,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    absent,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SIZE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Write the rows of a chunk of tokens and of its smallest cells, or those of pinned tokens.

    `Sums` gets of the chunk: weighted keys, weighted values, weights, weights times logits, and the
    largest logit. `first` is the row of the first pinned token; the row behind the last is nothing.
    """
    at, bh = _program(chunks + tl.cdiv(pinned + 1, CHUNK))
    batch, head = bh // heads, bh % heads
    columns = tl.arange(0, BLOCK_D)
    wide = (columns < D)[None, :]
    keys_from = K + batch * stride_kb + head * stride_kh
    values_from = V + batch * stride_vb + head * stride_vh
    own = bh * rows
    if at < chunks:
        place = at * CHUNK + tl.arange(0, CHUNK)
        order = Order + batch * tokens
        k = _load_ordered(keys_from, order, place, tokens, stride_kn, D, BLOCK_D)
        v = _load_ordered(values_from, order, place, tokens, stride_vn, D, BLOCK_D)
        there = place < padded
        own_rows = (own + place)[:, None] * D + columns[None, :]
        tl.store(Keys + own_rows, k, mask=there[:, None] & wide)
        tl.store(Values + own_rows, v, mask=there[:, None] & wide)
        tl.store(Bias + own + place, tl.zeros([CHUNK], tl.float32), mask=there)
        tilt = tl.load(Tilt + bh * padded + place, mask=there, other=float("-inf"))
        IN: tl.constexpr = CHUNK // SIZE
        cell = at * IN + tl.arange(0, IN)
        real = cell < cells
        inner = tl.reshape(tilt, [IN, SIZE])
        top = tl.max(inner, 1)
        logits = inner - tl.where(top == float("-inf"), 0.0, top)[:, None]
        weights = tl.exp(logits)
        total = tl.sum(weights, 1)
        products = tl.sum(tl.where(weights > 0, weights * logits, 0.0), 1)
        entropy = tl.log(total) - products / total
        share = tl.reshape(weights / total[:, None], [CHUNK])[:, None]
        mean_k = tl.sum(tl.reshape(share * k.to(tl.float32), [IN, SIZE, BLOCK_D]), 1)
        mean_v = tl.sum(tl.reshape(share * v.to(tl.float32), [IN, SIZE, BLOCK_D]), 1)
        row = own + padded + cell
        here = row[:, None] * D + columns[None, :]
        tl.store(Keys + here, mean_k, mask=real[:, None] & wide)
        tl.store(Values + here, mean_v, mask=real[:, None] & wide)
        tl.store(Bias + row, entropy, mask=real)
        largest = tl.max(tilt, 0)
        logit = tilt - largest
        weight = tl.exp(logit)
        sums = Sums + (bh * chunks + at) * (2 * D + 3)
        tl.store(sums + columns, tl.sum(weight[:, None] * k.to(tl.float32), 0), mask=columns < D)
        tl.store(
            sums + D + columns, tl.sum(weight[:, None] * v.to(tl.float32), 0), mask=columns < D
        )
        tl.store(sums + 2 * D, tl.sum(weight, 0))
        tl.store(sums + 2 * D + 1, tl.sum(tl.where(weight > 0, weight * logit, 0.0), 0))
        tl.store(sums + 2 * D + 2, largest)
    else:
        number = (at - chunks) * CHUNK + tl.arange(0, CHUNK)
        k_pinned = _load_ordered(keys_from, Outside, number, pinned, stride_kn, D, BLOCK_D)
        v_pinned = _load_ordered(values_from, Outside, number, pinned, stride_vn, D, BLOCK_D)
        listed = number <= pinned
        to = (own + first + number)[:, None] * D + columns[None, :]
        tl.store(Keys + to, k_pinned, mask=listed[:, None] & wide)
        tl.store(Values + to, v_pinned, mask=listed[:, None] & wide)
        bias = tl.where(number == pinned, absent, 0.0)
        tl.store(Bias + own + first + number, bias, mask=listed)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def larger_rows_kernel(
    Sums,
    Keys,
    Values,
    Bias,
    cells,
    chunks,
    rows,
    first,
    size,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr,
    STEP: tl.constexpr,
):
    """Write the row of one larger cell, from the sums of its chunks; `first` is the first such."""
    cell, bh = _program(cells)
    columns = tl.arange(0, BLOCK_D)
    wide = columns < D
    of_cell = size // CHUNK
    own = Sums + bh * chunks * (2 * D + 3)
    largest = float("-inf")
    for start in range(0, of_cell, STEP):
        inner = start + tl.arange(0, STEP)
        chunk = cell * of_cell + inner
        real = (inner < of_cell) & (chunk < chunks)
        tops = tl.load(own + chunk * (2 * D + 3) + 2 * D + 2, mask=real, other=float("-inf"))
        largest = tl.maximum(largest, tl.max(tops, 0))
    k = tl.zeros([BLOCK_D], tl.float32)
    v = tl.zeros([BLOCK_D], tl.float32)
    total = 0.0
    products = 0.0
    for start in range(0, of_cell, STEP):
        inner = start + tl.arange(0, STEP)
        chunk = cell * of_cell + inner
        real = (inner < of_cell) & (chunk < chunks)
        row = own + chunk * (2 * D + 3)
        below = tl.load(row + 2 * D + 2, mask=real, other=largest) - largest
        shrink = tl.where(real, tl.exp(below), 0.0)
        both = real[:, None] & wide[None, :]
        at = row[:, None] + columns[None, :]
        k += tl.sum(shrink[:, None] * tl.load(at, mask=both, other=0.0), 0)
        v += tl.sum(shrink[:, None] * tl.load(at + D, mask=both, other=0.0), 0)
        weight = tl.load(row + 2 * D, mask=real, other=0.0)
        product = tl.load(row + 2 * D + 1, mask=real, other=0.0)
        total += tl.sum(shrink * weight, 0)
        products += tl.sum(tl.where(shrink > 0, shrink * (product + below * weight), 0.0), 0)
    here = bh * rows + first + cell
    tl.store(Keys + here * D + columns, k / total, mask=wide)
    tl.store(Values + here * D + columns, v / total, mask=wide)
    tl.store(Bias + here, tl.log(total) - products / total)
