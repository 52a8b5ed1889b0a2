"""The Triton kernel of the walk: which cells each block of queries opens.

Candidates of the largest size come with their masses. Below, they are a block's own: a program
reads their keys once and holds all scores; ranks them without leaving its registers; and writes
what it opens and what stays as a summary. No key is copied.
Lengths are plain arguments; offsets are 64 bit.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.search.kernels_asked import _asked, _cells, _to_pinned

LENGTHS = [
    "query_blocks", "group", "queries", "cells", "size", "tokens", "parents", "fanout", "chosen",
    "listed", "rest_at", "tokens_at", "first", "nothing", "pinned_first", "pinned", "coarse",
]  # fmt: skip


@triton.jit
@no_type_check
def _candidates(Opened, lane, parents, fanout, cells, RUN: tl.constexpr):
    """The cells that opened ones hold, in runs of RUN numbers; `cells` is none."""
    parent, inner = lane // RUN, lane % RUN
    inside = (parent < parents) & (inner < fanout)
    cell = tl.load(Opened + parent, mask=inside, other=cells)
    return tl.where(inside, tl.minimum(cell * fanout + inner, cells), cells)


@triton.jit
@no_type_check
def _parts(block, OF_BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """The numbers of a block's parts, and -1 for more rows than it has."""
    row = tl.arange(0, ROWS)
    return tl.where(row < OF_BLOCK, block * OF_BLOCK + row, -1)


@triton.jit
@no_type_check
def _half(x, TILE: tl.constexpr, ROWS: tl.constexpr):
    """The first ROWS of twice as many columns; the others are padding."""
    first, _ = tl.split(tl.permute(tl.reshape(x, [TILE, 2, ROWS]), [0, 2, 1]))
    return first


@triton.jit
@no_type_check
def _of_block(x, TILE: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr):
    """The first ROWS of PARTS columns, as rows."""
    if ROWS < PARTS:
        x = _half(x, TILE, PARTS // 2)
    if ROWS < PARTS // 2:
        x = _half(x, TILE, PARTS // 4)
    if ROWS < PARTS // 4:
        x = _half(x, TILE, PARTS // 8)
    if ROWS < PARTS // 8:
        x = _half(x, TILE, PARTS // 16)
    return tl.trans(x)


@triton.jit
@no_type_check
def _scored(
    asked, table, opened, parents, fanout, cells, size, tokens, D: tl.constexpr,
    BLOCK_D: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
    TILE: tl.constexpr, RUN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores `[ROWS, TILES, TILE]` of all candidates by part, a tile's keys at a time."""
    turn = tl.arange(0, TILES)[None, :, None]
    scores = tl.full([ROWS, TILES, TILE], float("-inf"), tl.float32)
    for i in range(0, tl.cdiv(parents * RUN, TILE)):
        at = _candidates(opened, i * TILE + tl.arange(0, TILE), parents, fanout, cells, RUN)
        keys, logs = _cells(table, at, cells, size, tokens, D, BLOCK_D)
        found = tl.dot(keys, asked, input_precision=PRECISION) + logs[:, None]
        found = _of_block(found, TILE, PARTS, ROWS)
        scores = tl.where(turn == i, found[:, None, :], scores)
    return scores


@triton.jit
@no_type_check
def _masses(scores, to_pinned, WIDTH: tl.constexpr):
    """What all parts give to each candidate, of whom some mass is with pinned tokens."""
    top = tl.max(tl.max(scores, 2), 1)
    base = tl.where(top == float("-inf"), 0.0, top)  # there is no candidate
    weights = tl.exp(scores - base[:, None, None])
    share = 1.0 / (tl.sum(tl.sum(weights, 2), 1) + tl.exp(to_pinned - base))
    share = tl.where(top > float("-inf"), share, 0.0)  # and 0 for a part without queries
    return tl.reshape(tl.sum(weights * share[:, None, None], 0), [WIDTH])


@triton.jit
@no_type_check
def _pick_largest(wrong, missing, inside, chosen, WIDTH: tl.constexpr):
    """Which are the `chosen` largest, and the place of each among them.

    Of equal ones they are the last. What is missing comes after all.

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
    marks = above.to(tl.int32) + (equal.to(tl.int32) << 16)  # two counts in one
    so_far, total = tl.cumsum(marks, 0), tl.sum(marks, 0)
    left_out = (total >> 16) + (total & 65535) - chosen  # of equal ones, the first
    more = (so_far >> 16) - left_out
    return above | (equal & (more > 0)), (so_far & 65535) + tl.maximum(more, 0) - 1


@triton.jit
@no_type_check
def _coarse(Opened, which, parents, coarse, HELD: tl.constexpr):
    """The largest cells that hold some opened ones, HELD of which they hold."""
    inside = (which >= 0) & (which < parents)
    return tl.minimum(tl.load(Opened + which, mask=inside, other=0) // HELD, coarse - 1)


@triton.jit
@no_type_check
def _take_away(Left, Opened, Gone, parents, coarse, HELD: tl.constexpr, STEP: tl.constexpr):
    """Take from the largest cells what is gone of the opened ones, which are in order."""
    for start in range(0, parents, STEP):
        opened = start + tl.arange(0, STEP)
        cell = _coarse(Opened, opened, parents, coarse, HELD)
        before = _coarse(Opened, opened - 1, parents, coarse, HELD)
        one = (opened < parents) & ((opened == 0) | (cell != before))  # of each, the first
        stays = tl.load(Left + cell, mask=one, other=0.0)
        for begin in range(0, parents, STEP):
            which = begin + tl.arange(0, STEP)
            of = _coarse(Opened, which, parents, coarse, HELD)
            gone = tl.load(Gone + which, mask=which < parents, other=0.0)
            stays -= tl.sum(tl.where(of[:, None] == cell[None, :], gone[:, None], 0.0), 0)
        tl.store(Left + cell, stays, mask=one)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def open_cells_kernel(
    Parts,
    Pinned,
    Keys,
    Spread,
    Opened,
    Chosen,
    Gone,
    Lists,
    Left,
    query_blocks,
    group,
    queries,
    cells,
    size,
    tokens,
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
    RUN: tl.constexpr,
    HELD: tl.constexpr,
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
    program = tl.program_id(0)
    bh, own = (program // query_blocks).to(tl.int64), program % query_blocks
    block, head = program.to(tl.int64), bh // group
    opened, left = Opened + block * parents, Left + block * coarse
    if not TOP:
        asked = _asked(Parts, Keys, bh, _parts(own, OF_BLOCK, PARTS), queries, D, BLOCK_D, PART)
        scores = _scored(
            tl.trans(asked), Keys + head * cells * D, opened, parents, fanout, cells, size, tokens,
            D, BLOCK_D, PARTS, ROWS, TILES, TILE, RUN, PRECISION,
        )  # fmt: skip
        part = _parts(own, OF_BLOCK, ROWS)
        mass = _masses(scores, _to_pinned(Pinned, bh, part, queries, PART), TILES * TILE)
    lane = tl.arange(0, TILES * TILE)
    number = lane // RUN * fanout + lane % RUN
    inside = (lane // RUN < parents) & (lane % RUN < fanout)
    if TOP:
        at = tl.where(inside, lane, cells)
        mass = tl.load(left + lane, mask=inside, other=0.0)
    else:
        at = _candidates(opened, lane, parents, fanout, cells, RUN)
    missing = at >= cells
    spread = tl.load(Spread + head * cells + at, mask=inside & (at < cells), other=0.0)
    wrong = mass * spread
    wrong = tl.where(wrong < float("inf"), wrong, 0.0)  # NaN too
    taken, place = _pick_largest(wrong, missing, inside, chosen, TILES * TILE)
    tl.store(Chosen + block * chosen + place, at, mask=taken)
    lists = Lists + block * listed
    if SUMMARIES:
        rest = inside & (taken == 0)
        behind = number - place - 1  # those that are taken before it left out
        tl.store(lists + rest_at + behind, tl.where(missing, nothing, at + first), mask=rest)
    if TOP:
        for start in range(0, pinned, STEP):
            one = start + tl.arange(0, STEP)
            tl.store(lists + one, pinned_first + one, mask=one < pinned)
    if LAST:
        SOME: tl.constexpr = SIZE if SIZE <= 4 else 2  # tokens of a block at a time: more spill
        for begin in range(0, SIZE, SOME):
            inner = begin + tl.arange(0, SOME)
            token = at[:, None] * SIZE + inner[None, :]
            token = tl.where(token < tokens, token, nothing)
            held = tokens_at + place[:, None] * SIZE + inner[None, :]
            tl.store(lists + held, token, mask=taken[:, None])
        if TOP:
            tl.store(left + at, 0.0, mask=taken)
        else:
            own_run = tl.reshape(tl.where(taken, mass, 0.0), [TILES * TILE // RUN, RUN])
            parent = tl.arange(0, TILES * TILE // RUN)
            gone = Gone + block * parents
            tl.store(gone + parent, tl.sum(own_run, 1), mask=parent < parents)
            tl.debug_barrier()  # what the program wrote it reads
            _take_away(left, opened, gone, parents, coarse, HELD, STEP // 2)
