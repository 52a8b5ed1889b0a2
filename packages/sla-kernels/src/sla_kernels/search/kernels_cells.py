"""The Triton kernels of cells that are only looked at: means, spreads, who asks, tilts of tokens.

Tokens are read where the caller has them, by an order; nothing is put in order in memory. Lengths
are plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _load_ordered, _program

LENGTHS = [
    "tokens", "padded", "cells", "chunks", "size", "coarse", "heads", "queries", "query_blocks",
    "group",
]  # fmt: skip


@triton.jit
@no_type_check
def _spread(squares, mean, count):
    """The root mean square distance of tokens from their mean."""
    return tl.sqrt(tl.maximum(squares / count - tl.sum(mean * mean, 1), 0.0))


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def cell_means_kernel(
    K,
    V,
    Order,
    Means,
    Spreads,
    Sums,
    tokens,
    heads,
    cells,
    chunks,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SIZE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Mean keys of the smallest cells in a chunk of tokens, and how far keys times values spread.

    `Sums` gets of the whole chunk, which larger cells are made of: keys, values, squared lengths.
    """
    chunk, bh = _program(chunks)
    batch, head = bh // heads, bh % heads
    columns = tl.arange(0, BLOCK_D)
    place = chunk * CHUNK + tl.arange(0, CHUNK)
    order = Order + batch * tokens
    keys = K + batch * stride_kb + head * stride_kh
    values = V + batch * stride_vb + head * stride_vh
    k = _load_ordered(keys, order, place, tokens, stride_kn, D, BLOCK_D).to(tl.float32)
    v = _load_ordered(values, order, place, tokens, stride_vn, D, BLOCK_D).to(tl.float32)
    k = tl.where(tl.abs(k) < float("inf"), k, 0.0)  # a broken token misleads no cell's choice
    v = tl.where(tl.abs(v) < float("inf"), v, 0.0)
    squares_k, squares_v = tl.sum(k * k, 1), tl.sum(v * v, 1)
    IN: tl.constexpr = CHUNK // SIZE
    cell = chunk * IN + tl.arange(0, IN)
    count = tl.minimum(tl.maximum(tokens - cell * SIZE, 1), SIZE).to(tl.float32)
    mean_k = tl.sum(tl.reshape(k, [IN, SIZE, BLOCK_D]), 1) / count[:, None]
    mean_v = tl.sum(tl.reshape(v, [IN, SIZE, BLOCK_D]), 1) / count[:, None]
    spread = _spread(tl.sum(tl.reshape(squares_k, [IN, SIZE]), 1), mean_k, count)
    spread *= _spread(tl.sum(tl.reshape(squares_v, [IN, SIZE]), 1), mean_v, count)
    real = cell < cells
    at = bh * cells + cell
    wide = columns < D
    tl.store(Means + at[:, None] * D + columns[None, :], mean_k, mask=real[:, None] & wide[None, :])
    tl.store(Spreads + at, spread, mask=real)
    own = Sums + (bh * chunks + chunk) * (2 * D + 2)
    tl.store(own + columns, tl.sum(k, 0), mask=wide)
    tl.store(own + D + columns, tl.sum(v, 0), mask=wide)
    tl.store(own + 2 * D, tl.sum(squares_k, 0))
    tl.store(own + 2 * D + 1, tl.sum(squares_v, 0))


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def larger_means_kernel(
    Sums,
    Means,
    Spreads,
    tokens,
    cells,
    chunks,
    size,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr,
    STEP: tl.constexpr,
):
    """The same of one larger cell, from the sums of its chunks."""
    cell, bh = _program(cells)
    columns = tl.arange(0, BLOCK_D)
    wide = columns < D
    k = tl.zeros([BLOCK_D], tl.float32)
    v = tl.zeros([BLOCK_D], tl.float32)
    squares_k = tl.zeros([1], tl.float32)
    squares_v = tl.zeros([1], tl.float32)
    of_cell = size // CHUNK
    for start in range(0, of_cell, STEP):
        own = start + tl.arange(0, STEP)
        chunk = cell * of_cell + own
        real = (own < of_cell) & (chunk < chunks)
        row = Sums + (bh * chunks + chunk) * (2 * D + 2)
        both = real[:, None] & wide[None, :]
        k += tl.sum(tl.load(row[:, None] + columns[None, :], mask=both, other=0.0), 0)
        v += tl.sum(tl.load(row[:, None] + D + columns[None, :], mask=both, other=0.0), 0)
        squares_k += tl.sum(tl.load(row + 2 * D, mask=real, other=0.0), 0)
        squares_v += tl.sum(tl.load(row + 2 * D + 1, mask=real, other=0.0), 0)
    count = tl.minimum(tl.maximum(tokens - cell * size, 1), size).to(tl.float32)
    spread = _spread(squares_k, (k / count)[None, :], count)
    spread *= _spread(squares_v, (v / count)[None, :], count)
    at = bh * cells + cell
    tl.store(Means + at * D + columns, k / count, mask=wide)
    tl.store(Spreads + at + tl.arange(0, 1), spread)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def wanted_kernel(
    Parts,
    Left,
    Wanted,
    queries,
    query_blocks,
    group,
    coarse,
    LEAST: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    OF_BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the mean query of those who leave mass to each coarse cell, at least LEAST each."""
    tile, head = _program(tl.cdiv(coarse, TILE))
    columns = tl.arange(0, BLOCK_D)
    cell = tile * TILE + tl.arange(0, TILE)
    lane = tl.arange(0, BLOCKS * OF_BLOCK)
    count, total = group * query_blocks, tl.cdiv(queries, PART)
    acc = tl.zeros([TILE, BLOCK_D], tl.float32)
    sums = tl.zeros([TILE], tl.float32)
    for start in range(0, count, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        inside = (block < count)[:, None] & (cell < coarse)[None, :]
        own = Left + (head * count + block)[:, None] * coarse + cell[None, :]
        mass = tl.where(inside, tl.maximum(tl.load(own, mask=inside, other=0.0), LEAST), 0.0)
        of = start + lane // OF_BLOCK
        part = of % query_blocks * OF_BLOCK + lane % OF_BLOCK
        row = (head * group + of // query_blocks) * total + part
        real = ((of < count) & (part < total))[:, None] & (columns < D)[None, :]
        asked = tl.load(Parts + row[:, None] * D + columns[None, :], mask=real, other=0.0)
        asked = tl.sum(tl.reshape(asked, [BLOCKS, OF_BLOCK, BLOCK_D]), 1) / OF_BLOCK
        acc = tl.dot(tl.trans(mass), asked, acc, input_precision=PRECISION)
        sums += tl.sum(mass, 0)
    here = Wanted + (head * coarse + cell)[:, None] * D + columns[None, :]
    mean = acc / tl.where(cell < coarse, sums, 1.0)[:, None]
    tl.store(here, mean, mask=(cell < coarse)[:, None] & (columns < D)[None, :])


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def tilt_kernel(
    K,
    Order,
    Asked,
    Tilt,
    tokens,
    padded,
    heads,
    coarse,
    chunks,
    size,
    stride_kb,
    stride_kh,
    stride_kn,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Score the tokens of a chunk by the query of their coarse cell; minus infinity on padding."""
    chunk, bh = _program(chunks)
    batch, head = bh // heads, bh % heads
    columns = tl.arange(0, BLOCK_D)
    place = chunk * CHUNK + tl.arange(0, CHUNK)
    keys = K + batch * stride_kb + head * stride_kh
    k = _load_ordered(keys, Order + batch * tokens, place, tokens, stride_kn, D, BLOCK_D)
    asked = Asked + (bh * coarse + chunk * CHUNK // size) * D
    q = tl.load(asked + columns, mask=columns < D, other=0.0).to(tl.float32)
    found = tl.sum(k.to(tl.float32) * q[None, :], 1)
    found = tl.where(tl.abs(found) < float("inf"), found, 0.0)
    found = tl.where(place < tokens, found, float("-inf"))
    tl.store(Tilt + bh * padded + place, found, mask=place < padded)
