"""Where a program of a Triton kernel stands, and the tiles of tokens that it loads and stores.

Programs are counted on the first axis of the grid, which has room for 2^31; others end at 65535.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _program(tiles):
    """Which of a head's tiles this program works on, and which head, counted through the batch."""
    at = tl.program_id(0)
    return at % tiles, (at // tiles).to(tl.int64)


@triton.jit
@no_type_check
def _head(base, bh, heads, group, stride_b, stride_h):
    """Where the head begins that serves head `bh`, of a tensor whose heads serve `group` each."""
    return base + bh // heads * stride_b + bh % heads // group * stride_h


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
def _load_columns(
    base,
    start,
    limit,
    first,
    stride_n,
    stride_d,
    ROWS: tl.constexpr,
    D: tl.constexpr,
    PART: tl.constexpr,
):
    """Load PART columns of ROWS tokens; beyond `limit` tokens and D columns there are zeros."""
    rows = tl.arange(0, ROWS)
    columns = first + tl.arange(0, PART)
    tile = base + tl.cast(start, tl.int64) * stride_n
    inside = (start + rows < limit)[:, None] & (columns < D)[None, :]
    pointers = tile + rows[:, None] * stride_n + columns[None, :] * stride_d
    return tl.load(pointers, mask=inside, other=0.0)


@triton.jit
@no_type_check
def _load_ordered(base, order, place, limit, stride_n, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load the tokens that stand at some places of an order; beyond `limit` zeros."""
    columns = tl.arange(0, BLOCK_D)
    inside = place < limit
    position = tl.load(order + place, mask=inside, other=0)
    pointers = base + position[:, None] * stride_n + columns[None, :]
    return tl.load(pointers, mask=inside[:, None] & (columns < D)[None, :], other=0.0)


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
