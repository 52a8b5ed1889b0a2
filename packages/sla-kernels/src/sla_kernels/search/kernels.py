"""The Triton kernels of the walk: what query blocks ask, and which cells each of them opens.

A program has the mean queries of one block. It scores the block's candidates twice, once for the
largest score and the sum of each part and once for the shares, the second time from a cache; ranks
them without leaving its registers; and writes what it opens and what stays as a summary. No key is
copied and no score stored. Lengths are plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

LENGTHS = [
    "n", "queries", "order_length", "pinned", "query_blocks", "group", "cells", "size", "tokens",
    "candidates", "parents", "fanout", "chosen", "listed", "rest_at", "tokens_at", "first",
    "nothing", "pinned_first", "coarse", "coarse_blocks",
]  # fmt: skip


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
def _candidates(
    Opened, block, start, candidates, parents, fanout, cells, WIDTH: tl.constexpr, TOP: tl.constexpr
):
    """Numbers of WIDTH candidates: all cells, or those that opened cells hold; `cells` is none."""
    lane = start + tl.arange(0, WIDTH)
    at = lane
    if not TOP:
        parent = tl.load(
            Opened + block * parents + lane // fanout, mask=lane < candidates, other=cells
        )
        at = parent * fanout + lane % fanout
    return tl.where(lane < candidates, tl.minimum(at, cells), cells)


@triton.jit
@no_type_check
def _scores(
    queries, table, at, cells, size, tokens, D: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores [PARTS, TILE] of some cells, with the logs of their counts."""
    columns = tl.arange(0, BLOCK_D)
    there = at < cells
    pointers = table + at.to(tl.int64)[:, None] * D + columns[None, :]
    keys = tl.load(pointers, mask=there[:, None] & (columns < D)[None, :], other=0.0)
    count = tl.minimum(tokens - at * size, size)
    logs = tl.where(there, tl.log(tl.maximum(count, 1).to(tl.float32)), float("-inf"))
    return tl.dot(queries, tl.trans(keys), input_precision=PRECISION) + logs[None, :]


@triton.jit
@no_type_check
def _largest(wrong, missing, inside, chosen):
    """Which are the `chosen` largest; of equal ones the last. What is missing comes after all.

    Numbers that are not negative ascend as their bits do: the bits of the least of the largest are
    found one by one.
    """
    bits = wrong.to(tl.int32, bitcast=True)
    bits = tl.where(inside, tl.where(missing, -1, bits), -2)
    least = 0
    for i in range(0, 31):
        trial = least | (1 << (30 - i))
        enough = tl.sum((bits >= trial).to(tl.int32), 0) >= chosen
        least = tl.where(enough, trial, least)
    least = tl.where(tl.sum((bits >= 0).to(tl.int32), 0) >= chosen, least, -1)
    above, equal = bits > least, bits == least
    wanted = chosen - tl.sum(above.to(tl.int32), 0)
    behind = tl.sum(equal.to(tl.int32), 0) - tl.cumsum(equal.to(tl.int32), 0)
    return above | (equal & (behind < wanted))


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def open_cells_kernel(
    Parts,
    Pinned,
    Keys,
    Spread,
    Opened,
    Chosen,
    Moved,
    Lists,
    Left,
    query_blocks,
    group,
    queries,
    cells,
    size,
    tokens,
    candidates,
    parents,
    fanout,
    chosen,
    listed,
    rest_at,
    tokens_at,
    first,
    nothing,
    pinned_first,
    pinned,
    coarse,
    coarse_blocks,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    OF_BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    SIZE: tl.constexpr,
    TOP: tl.constexpr,
    LAST: tl.constexpr,
    SUMMARIES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Open `chosen` of a block's candidates: what a summary gets most wrong.

    - `Chosen`: what is opened, ascending. `Lists`: from `rest_at` on what is not; at the largest
      size pinned tokens before it; at the smallest, from `tokens_at` on, the tokens of what is.
    - `Left`: the mass of each cell of the largest size, at last without what is read exactly.
    """
    block = tl.program_id(0).to(tl.int64)
    bh, own = block // query_blocks, block % query_blocks
    head = bh // group
    table = Keys + head * cells * D
    row = tl.arange(0, PARTS)
    columns = tl.arange(0, BLOCK_D)
    total = tl.cdiv(queries, PART)
    part = own * OF_BLOCK + row
    real = (row < OF_BLOCK) & (part < total)
    at_part = bh * total + part
    pointers = Parts + at_part[:, None] * D + columns[None, :]
    asked = tl.load(pointers, mask=real[:, None] & (columns < D)[None, :], other=0.0)
    asked = asked.to(Keys.dtype.element_ty)
    to_pinned = tl.load(Pinned + at_part, mask=real, other=float("inf"))
    top = tl.full([PARTS], float("-inf"), tl.float32)
    sums = tl.zeros([PARTS], tl.float32)
    for i in range(0, TILES):
        at = _candidates(Opened, block, i * TILE, candidates, parents, fanout, cells, TILE, TOP)
        scores = _scores(asked, table, at, cells, size, tokens, D, BLOCK_D, PRECISION)
        new_top = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(new_top == float("-inf"), 0.0, new_top)  # no candidate yet
        sums = sums * tl.exp(top - base) + tl.sum(tl.exp(scores - base[:, None]), 1)
        top = new_top
    base = tl.where(top == float("-inf"), 0.0, top)
    share = 1.0 / (sums + tl.exp(to_pinned - base))  # 0 for a part without queries
    share = tl.where(real & (top > float("-inf")), share, 0.0)
    turn = tl.arange(0, TILES)[:, None]
    masses = tl.zeros([TILES, TILE], tl.float32)
    for i in range(0, TILES):
        at = _candidates(Opened, block, i * TILE, candidates, parents, fanout, cells, TILE, TOP)
        scores = _scores(asked, table, at, cells, size, tokens, D, BLOCK_D, PRECISION)
        mass = tl.sum(tl.exp(scores - base[:, None]) * share[:, None], 0)
        masses = tl.where(turn == i, mass[None, :], masses)
    mass = tl.reshape(masses, [TILES * TILE])
    lane = tl.arange(0, TILES * TILE)
    inside = lane < candidates
    at = _candidates(Opened, block, 0, candidates, parents, fanout, cells, TILES * TILE, TOP)
    missing = at >= cells
    spread = tl.load(Spread + head * cells + at, mask=inside & (at < cells), other=0.0)
    wrong = mass * spread
    wrong = tl.where(wrong < float("inf"), wrong, 0.0)  # NaN too
    taken = _largest(wrong, missing, inside, chosen)
    place = tl.cumsum(taken.to(tl.int32), 0) - 1
    tl.store(Chosen + block * chosen + place, at, mask=taken)
    lists = Lists + block * listed
    if SUMMARIES:
        rest = inside & (taken == 0)
        behind = tl.cumsum(rest.to(tl.int32), 0) - 1
        tl.store(lists + rest_at + behind, tl.where(missing, nothing, at + first), mask=rest)
    left = Left + block * coarse
    if TOP:
        tl.store(left + lane, mass, mask=inside)
        for start in range(0, pinned, TILE):
            number = start + tl.arange(0, TILE)
            tl.store(lists + number, pinned_first + number, mask=number < pinned)
    if LAST:
        inner = tl.arange(0, SIZE)
        number = at[:, None] * SIZE + inner[None, :]
        number = tl.where(number < tokens, number, nothing)
        held = tokens_at + place[:, None] * SIZE + inner[None, :]
        tl.store(lists + held, number, mask=taken[:, None] & (inner < SIZE)[None, :])
        tl.store(Moved + block * chosen + place, mass, mask=taken)
        tl.debug_barrier()  # what the program wrote it reads
        for start in range(0, coarse, TILE):
            cell = start + tl.arange(0, TILE)
            stays = tl.load(left + cell, mask=cell < coarse, other=0.0)
            for begin in range(0, chosen, TILE):
                which = begin + tl.arange(0, TILE)
                real_one = which < chosen
                of = tl.load(Chosen + block * chosen + which, mask=real_one, other=0)
                of = tl.minimum(of // coarse_blocks, coarse - 1)
                gone = tl.load(Moved + block * chosen + which, mask=real_one, other=0.0)
                stays -= tl.sum(tl.where(of[:, None] == cell[None, :], gone[:, None], 0.0), 0)
            tl.store(left + cell, stays, mask=cell < coarse)
