"""The Triton kernel of the walk: which cells each block of queries opens.

Candidates of the largest size come with their masses. Below, they are a block's own: a program
reads their keys once and holds all scores; ranks them without leaving its registers; and writes
what it opens and what stays as a summary. No key is copied.
Lengths are plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.search.kernels_asked import _asked, _scores

LENGTHS = [
    "query_blocks", "group", "queries", "cells", "size", "tokens", "candidates", "parents",
    "fanout", "chosen", "listed", "rest_at", "tokens_at", "first", "nothing", "pinned_first",
    "pinned", "coarse", "coarse_blocks",
]  # fmt: skip


@triton.jit
@no_type_check
def _candidates(Opened, block, start, candidates, parents, fanout, cells, WIDTH: tl.constexpr):
    """Numbers of WIDTH candidates, the cells that opened ones hold; `cells` is none."""
    lane = start + tl.arange(0, WIDTH)
    parent = tl.load(Opened + block * parents + lane // fanout, mask=lane < candidates, other=cells)
    at = parent * fanout + lane % fanout
    return tl.where(lane < candidates, tl.minimum(at, cells), cells)


@triton.jit
@no_type_check
def _first_half(x, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The first half of 2 ROWS rows; the others are padding."""
    first, _ = tl.split(tl.permute(tl.reshape(x, [2, ROWS, COLUMNS]), [1, 2, 0]))
    return first


@triton.jit
@no_type_check
def _pick_largest(wrong, missing, inside, chosen, WIDTH: tl.constexpr):
    """Which are the `chosen` largest; of equal ones the last. What is missing comes after all.

    Numbers that are not negative ascend as their bits do: the bits of the least of the largest are
    found one by one, or two by two where three counts fit an integer.
    """
    bits = wrong.to(tl.int32, bitcast=True)
    bits = tl.where(inside, tl.where(missing, -1, bits), -2)
    enough = tl.sum((bits >= 1 << 30).to(tl.int32), 0) >= chosen
    least = tl.where(enough, 1 << 30, 0)
    if WIDTH < 1 << 10:
        for i in range(0, 15):
            one = 1 << (28 - 2 * i)
            count = (bits >= least + one).to(tl.int32)
            count += (bits >= least + 2 * one).to(tl.int32) << 10
            count += (bits >= least + 3 * one).to(tl.int32) << 20
            count = tl.sum(count, 0)
            digit = (count & 1023 >= chosen).to(tl.int32) + (count >> 20 >= chosen).to(tl.int32)
            digit += (count >> 10 & 1023 >= chosen).to(tl.int32)
            least += digit * one
    else:
        for i in range(0, 30):
            trial = least + (1 << (29 - i))
            enough = tl.sum((bits >= trial).to(tl.int32), 0) >= chosen
            least = tl.where(enough, trial, least)
    least = tl.where(tl.sum((bits >= 0).to(tl.int32), 0) >= chosen, least, -1)
    above, equal = bits > least, bits == least
    wanted = chosen - tl.sum(above.to(tl.int32), 0)
    behind = tl.sum(equal.to(tl.int32), 0) - tl.cumsum(equal.to(tl.int32), 0)
    return above | (equal & (behind < wanted))


@triton.jit
@no_type_check
def _coarse(Opened, block, which, parents, fanout, coarse, coarse_blocks):
    """The largest cells that hold some opened ones."""
    inside = (which >= 0) & (which < parents)
    parent = tl.load(Opened + block * parents + which, mask=inside, other=0)
    return tl.minimum(parent * fanout // coarse_blocks, coarse - 1)


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
    ROWS: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    STEP: tl.constexpr,
    SIZE: tl.constexpr,
    TOP: tl.constexpr,
    LAST: tl.constexpr,
    SUMMARIES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Open `chosen` of a block's candidates: what a summary gets most wrong.

    - `Chosen`: what is opened, ascending. `Lists`: from `rest_at` on what is not; at the largest
      size pinned tokens before it; at the smallest, from `tokens_at` on, the tokens of what is.
    - `Left`: the mass of each cell of the largest size, of which at last what is read exactly is
      taken away.
    """
    block = tl.program_id(0).to(tl.int64)
    bh, own = block // query_blocks, block % query_blocks
    head = bh // group
    lane = tl.arange(0, TILES * TILE)
    inside = lane < candidates
    left = Left + block * coarse
    if TOP:
        mass = tl.load(left + lane, mask=inside, other=0.0)
    else:
        row = tl.arange(0, PARTS)
        part = tl.where(row < OF_BLOCK, own * OF_BLOCK + row, -1)
        asked, to_pinned = _asked(Parts, Pinned, Keys, bh, part, queries, D, BLOCK_D, PART)
        table = Keys + head * cells * D
        turn = tl.arange(0, TILES)[:, None, None]
        scores = tl.full([TILES, ROWS, TILE], float("-inf"), tl.float32)
        for i in range(0, TILES):
            at = _candidates(Opened, block, i * TILE, candidates, parents, fanout, cells, TILE)
            found = _scores(asked, table, at, cells, size, tokens, D, BLOCK_D, PRECISION)
            if ROWS < PARTS:
                found = _first_half(found, ROWS, TILE)
            scores = tl.where(turn == i, found[None, :, :], scores)
        if ROWS < PARTS:
            to_pinned = tl.min(_first_half(to_pinned[:, None], ROWS, 1), 1)
        top = tl.max(tl.max(scores, 2), 0)
        base = tl.where(top == float("-inf"), 0.0, top)  # there is no candidate
        weights = tl.exp(scores - base[None, :, None])
        share = 1.0 / (tl.sum(tl.sum(weights, 2), 0) + tl.exp(to_pinned - base))
        share = tl.where(top > float("-inf"), share, 0.0)  # and 0 for a part without queries
        mass = tl.reshape(tl.sum(weights * share[None, :, None], 1), [TILES * TILE])
    at = tl.where(inside, lane, cells)
    if not TOP:
        at = _candidates(Opened, block, 0, candidates, parents, fanout, cells, TILES * TILE)
    missing = at >= cells
    spread = tl.load(Spread + head * cells + at, mask=inside & (at < cells), other=0.0)
    wrong = mass * spread
    wrong = tl.where(wrong < float("inf"), wrong, 0.0)  # NaN too
    taken = _pick_largest(wrong, missing, inside, chosen, TILES * TILE)
    place = tl.cumsum(taken.to(tl.int32), 0) - 1
    tl.store(Chosen + block * chosen + place, at, mask=taken)
    lists = Lists + block * listed
    if SUMMARIES:
        rest = inside & (taken == 0)
        behind = lane - place - 1  # those that are taken before it left out
        tl.store(lists + rest_at + behind, tl.where(missing, nothing, at + first), mask=rest)
    if TOP:
        for start in range(0, pinned, STEP):
            number = start + tl.arange(0, STEP)
            tl.store(lists + number, pinned_first + number, mask=number < pinned)
    if LAST:
        RUN: tl.constexpr = SIZE if SIZE <= 4 else 2  # tokens of a block at a time: more spill
        for begin in range(0, SIZE, RUN):
            inner = begin + tl.arange(0, RUN)
            number = at[:, None] * SIZE + inner[None, :]
            number = tl.where(number < tokens, number, nothing)
            held = tokens_at + place[:, None] * SIZE + inner[None, :]
            tl.store(lists + held, number, mask=taken[:, None])
        tl.store(Moved + block * chosen + place, mass, mask=taken)
        tl.debug_barrier()  # what the program wrote it reads
        if TOP:
            tl.store(left + at, 0.0, mask=taken)
            parents = 0
        for start in range(0, parents, STEP // 2):
            opened = start + tl.arange(0, STEP // 2)
            cell = _coarse(Opened, block, opened, parents, fanout, coarse, coarse_blocks)
            before = _coarse(Opened, block, opened - 1, parents, fanout, coarse, coarse_blocks)
            one = (opened < parents) & ((opened == 0) | (cell != before))  # of each, the first
            stays = tl.load(left + cell, mask=one, other=0.0)
            for begin in range(0, chosen, STEP):
                which = begin + tl.arange(0, STEP)
                real_one = which < chosen
                of = tl.load(Chosen + block * chosen + which, mask=real_one, other=0)
                of = tl.minimum(of // coarse_blocks, coarse - 1)
                gone = tl.load(Moved + block * chosen + which, mask=real_one, other=0.0)
                stays -= tl.sum(tl.where(of[:, None] == cell[None, :], gone[:, None], 0.0), 0)
            tl.store(left + cell, stays, mask=one)
