"""The Triton kernels of an order: features of tokens, then segments halved until each is a cell.

Segments too long for one program are cut in pieces, of which a first kernel adds up how far tokens
spread, others turn the direction, and a last writes what a sort then puts in order; the others are
halved step after step by one program each, which sorts in its registers. Ties keep the order they
had. See `sla_kernels.order.median` for what a turn is.
Places and rows are counted through all scenes.
"""

from typing import no_type_check  # a run-time checker would hide the source from Triton

import triton
import triton.language as tl

from sla_kernels.runtime.kernels import _load_tile, _program

LENGTHS = ["tokens", "heads", "axes", "programs"]


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def features_kernel(
    K,
    Directions,
    Features,
    tokens,
    heads,
    axes,
    stride_kb,
    stride_kh,
    stride_kn,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    AXES: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Keys of all heads along each axis, summed in float32; what is not finite is zero."""
    tile, batch = _program(tl.cdiv(tokens, TILE))
    start = tile * TILE
    inner, axis = tl.arange(0, BLOCK_D), tl.arange(0, AXES)
    found = tl.zeros([TILE, AXES], tl.float32)
    for head in range(0, heads):
        base = K + batch * stride_kb + tl.cast(head, tl.int64) * stride_kh
        keys = _load_tile(base, start, tokens, stride_kn, 1, TILE, D, BLOCK_D, True)
        along = tl.load(
            Directions + (head * D + inner)[:, None] * axes + axis[None, :],
            mask=(inner < D)[:, None] & (axis < axes)[None, :],
            other=0.0,
        )
        found = tl.dot(keys, along, found, input_precision=PRECISION)
    found = tl.where(tl.abs(found) < float("inf"), found, 0.0)
    place = start + tl.arange(0, TILE)
    at = (batch * tokens + place)[:, None] * axes + axis[None, :]
    tl.store(Features + at, found, mask=(place < tokens)[:, None] & (axis < axes)[None, :])


@triton.jit
@no_type_check
def _ascending(values):
    """Integers that ascend as numbers do: the bits of negative ones descend. -0 is 0."""
    bits = (values + 0.0).to(tl.int32, bitcast=True)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(values == values, bits, 0x7FFFFFFF)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def spread_kernel(
    Features,
    Order,
    Pieces,
    Sums,
    axes,
    AXES: tl.constexpr,
    TILE: tl.constexpr,
    OF_PIECE: tl.constexpr,
):
    """Sums of a piece's features and of their squares, about the first token of its segment."""
    piece = tl.program_id(0).to(tl.int64)
    apart, _ = _of_piece(Features, Order, Pieces + piece * OF_PIECE, axes, AXES, TILE)
    axis = tl.arange(0, AXES)
    tl.store(Sums + piece * 2 * AXES + axis, tl.sum(apart, 0))
    tl.store(Sums + piece * 2 * AXES + AXES + axis, tl.sum(apart * apart, 0))


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def turn_kernel(
    Features,
    Order,
    Pieces,
    Sums,
    Turned,
    axes,
    AXES: tl.constexpr,
    TILE: tl.constexpr,
    STEP: tl.constexpr,
    OF_PIECE: tl.constexpr,
    TURN: tl.constexpr,
    STEEP: tl.constexpr,
    TINY: tl.constexpr,
):
    """What a piece adds to its segment's next direction, and how far its tokens stand apart."""
    piece = tl.program_id(0).to(tl.int64)
    numbers = Pieces + piece * OF_PIECE
    pieces = tl.num_programs(0).to(tl.int64)
    mean, along, scale = _direction(Sums, Turned, pieces, numbers, axes, AXES, STEP, TURN, TINY)
    apart, inside = _of_piece(Features, Order, numbers, axes, AXES, TILE)
    centered = tl.where(inside[:, None], apart - mean[None, :], 0.0)
    values = tl.sum(centered * along[None, :], 1)
    weights = _bounded(values, scale, STEEP, TINY)
    axis = tl.arange(0, AXES)
    found = Turned + (TURN * pieces + piece) * 2 * AXES + axis
    tl.store(found, tl.sum(weights[:, None] * centered, 0))
    tl.store(found + AXES, tl.sum(tl.abs(values), 0) + tl.zeros([AXES], tl.float32))


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def keys_kernel(
    Features,
    Order,
    Pieces,
    Sums,
    Turned,
    Keys,
    axes,
    AXES: tl.constexpr,
    TILE: tl.constexpr,
    STEP: tl.constexpr,
    OF_PIECE: tl.constexpr,
    TURNS: tl.constexpr,
    TINY: tl.constexpr,
):
    """What to sort a piece by: its segment's number, then the values along its direction."""
    numbers = Pieces + tl.program_id(0).to(tl.int64) * OF_PIECE
    pieces = tl.num_programs(0).to(tl.int64)
    _, along, _ = _direction(Sums, Turned, pieces, numbers, axes, AXES, STEP, TURNS, TINY)
    apart, inside = _of_piece(Features, Order, numbers, axes, AXES, TILE)
    values = tl.sum(apart * along[None, :], 1)
    place = tl.load(numbers) + tl.arange(0, TILE)
    number = tl.load(numbers + 6).to(tl.int64) << 32
    tl.store(Keys + place, number + _ascending(values).to(tl.int64) + 0x80000000, mask=inside)


@triton.jit
@no_type_check
def _of_piece(Features, Order, numbers, axes, AXES: tl.constexpr, TILE: tl.constexpr):
    """Features of a piece's tokens about the first one of its segment, zero behind its end."""
    start, end = tl.load(numbers), tl.load(numbers + 1)
    first = tl.load(Order + tl.load(numbers + 2)).to(tl.int64)
    place, axis = start + tl.arange(0, TILE), tl.arange(0, AXES)
    row = tl.load(Order + place, mask=place < end, other=0).to(tl.int64)
    inside = (place < end)[:, None] & (axis < axes)[None, :]
    found = tl.load(Features + row[:, None] * axes + axis[None, :], mask=inside, other=0.0)
    about = tl.load(Features + first * axes + axis, mask=axis < axes, other=0.0)
    return tl.where(inside, found - about[None, :], 0.0), place < end


@triton.jit
@no_type_check
def _direction(
    Sums,
    Turned,
    pieces,
    numbers,
    axes,
    AXES: tl.constexpr,
    STEP: tl.constexpr,
    TURNS: tl.constexpr,
    TINY: tl.constexpr,
):
    """Of a piece's segment the mean, the direction after so many turns, and the scale along it."""
    count = (tl.load(numbers + 3) - tl.load(numbers + 2)).to(tl.float32)
    first, last = tl.load(numbers + 4), tl.load(numbers + 5)
    sums, squares = _summed(Sums, first, last, AXES, STEP)
    mean = sums / count
    spread = squares / count - mean * mean
    spread = _told(spread, TINY)
    axis = tl.arange(0, AXES)
    spread = tl.where(axis < axes, spread, float("-inf"))
    along = tl.where(axis == tl.argmax(spread, 0), 1.0, 0.0)
    scale = tl.sqrt(tl.max(spread, 0))
    if TURNS > 0:
        turned, far = _summed(Turned + (TURNS - 1) * pieces * 2 * AXES, first, last, AXES, STEP)
        square = tl.sum(turned * turned, 0)
        told = (square > TINY) & (square < float("inf"))
        along = tl.where(told, turned / tl.sqrt(tl.where(told, square, 1.0)), along)
        scale = tl.max(far, 0) / count
    return mean, along, scale


@triton.jit
@no_type_check
def _summed(Sums, first, last, AXES: tl.constexpr, STEP: tl.constexpr):
    """Two rows of numbers, each summed over pieces `first` to `last`."""
    axis, step = tl.arange(0, AXES), tl.arange(0, STEP)
    one = tl.zeros([AXES], tl.float32)
    other = tl.zeros([AXES], tl.float32)
    for at in range(first, last, STEP):
        own = (at + step)[:, None].to(tl.int64) * 2 * AXES + axis[None, :]
        real = (at + step < last)[:, None]
        one += tl.sum(tl.load(Sums + own, mask=real, other=0.0), 0)
        other += tl.sum(tl.load(Sums + own + AXES, mask=real, other=0.0), 0)
    return one, other


@triton.jit
@no_type_check
def _told(spread, TINY: tl.constexpr):
    """A variance, infinite where it is NaN, and no less than what tells axes apart."""
    return tl.where(spread == spread, tl.maximum(spread, TINY), float("inf"))


@triton.jit
@no_type_check
def _bounded(values, scale, STEEP: tl.constexpr, TINY: tl.constexpr):
    """The weights of tokens in a turn."""
    steep = STEEP / tl.maximum(scale, TINY)
    return tl.minimum(tl.maximum(values * steep, -1.0), 1.0)


@triton.jit
@no_type_check
def _apart(Axis, row, first, inside):
    """Features of one axis about those of each segment's first token; zero behind its end."""
    found = tl.load(Axis + row, mask=inside, other=0.0)
    return tl.where(inside, found - tl.load(Axis + first)[:, None], 0.0)


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def halve_kernel(
    Features,
    Order,
    Bounds,
    axes,
    WIDTH: tl.constexpr,
    STEPS: tl.constexpr,
    TURNS: tl.constexpr,
    STEEP: tl.constexpr,
    TINY: tl.constexpr,
):
    """Sort a segment, then its halves, and so on; `Bounds` says where each begins and ends."""
    bounds = Bounds + tl.program_id(0).to(tl.int64) * 2 * (2**STEPS - 1)
    for i in tl.static_range(STEPS):
        part = 2 * tl.arange(0, 2**i) + 2 * (2**i - 1)
        begin, end = tl.load(bounds + part), tl.load(bounds + part + 1)
        lane = tl.arange(0, WIDTH >> i)
        place = begin[:, None] + lane[None, :]
        inside = place < end[:, None]
        row = tl.load(Order + place, mask=inside, other=0).to(tl.int64) * axes
        first = tl.load(Order + begin, mask=begin < end, other=0).to(tl.int64) * axes
        count = tl.maximum(end - begin, 1).to(tl.float32)
        most = tl.full([2**i], float("-inf"), tl.float32)
        values = tl.zeros([2**i, WIDTH >> i], tl.float32)
        for axis in range(0, axes):
            apart = _apart(Features + axis, row, first, inside)
            mean = tl.sum(apart, 1) / count
            spread = tl.sum(apart * apart, 1) / count - mean * mean
            spread = _told(spread, TINY)
            wider = (spread > most)[:, None]
            # infinite along any axis: NaN, as a product with a direction is
            values = tl.where(wider, apart, values) + 0.0 * tl.where(wider, values, apart)
            most = tl.maximum(most, spread)
        scale = tl.sqrt(most)
        for _ in tl.static_range(TURNS):
            middle = tl.sum(values, 1) / count
            centered = tl.where(inside, values - middle[:, None], 0.0)
            weights = _bounded(centered, scale[:, None], STEEP, TINY)
            scale = tl.sum(tl.abs(centered), 1) / count
            middle = tl.sum(weights, 1) / count
            weights = tl.where(inside, weights - middle[:, None], 0.0)
            turned = tl.zeros([2**i, WIDTH >> i], tl.float32)
            square = tl.zeros([2**i], tl.float32)
            for axis in range(0, axes):
                apart = _apart(Features + axis, row, first, inside)
                along = tl.sum(apart * weights, 1)
                turned += along[:, None] * apart
                square += along * along
            told = (square > TINY) & (square < float("inf"))
            length = tl.sqrt(tl.where(told, square, 1.0))
            values = tl.where(told[:, None], turned / length[:, None], values)
        keys = (_ascending(values).to(tl.int64) << 32) | lane[None, :]
        keys = tl.sort(tl.where(inside, keys, 0x7FFFFFFFFFFFFFFF), 1)
        moved = begin[:, None] + (keys & 0xFFFFFFFF)
        came = tl.load(Order + moved, mask=inside, other=0)
        tl.debug_barrier()  # all are read before any is written
        tl.store(Order + place, came, mask=inside)
        tl.debug_barrier()  # and written before the next step reads
