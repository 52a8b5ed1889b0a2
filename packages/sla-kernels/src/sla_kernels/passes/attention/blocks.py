"""Blocks of queries attend rows, which are read where they lie, as are queries and outputs.

Rows are taken some at a time, so that what is made of them stays in the nearest caches: scores
become weights, weights outputs, and outputs shrink as larger scores are met.
"""

from typing import NamedTuple, no_type_check

import numpy as np

from sla_kernels.passes.attention.lanes import ROWS, STRIP
from sla_kernels.passes.attention.products import add_up, score, weigh, word
from sla_kernels.passes.scalar import (
    AHEAD,
    alone,
    body,
    both,
    compiled,
    fetch_tokens,
    of_head,
    part,
    power,
    put,
)
from sla_kernels.passes.team import member, shared
from sla_kernels.passes.tokens import Tokens

_TAKEN = 96  # rows at a time
_LOG2E, _LN2 = np.float32(np.log2(np.e)), np.float32(np.log(2))
_ABSENT = np.float32(-1e30)  # a bias that no score makes up for
_LOWEST = np.float32(-3e38)
_LINE, _WORD = 64, 4  # bytes of a line of a cache, where vectors begin, and of what they hold
assert _TAKEN % ROWS == STRIP % ROWS == 0  # or what is written goes beyond its room


class Table(NamedTuple):
    """Rows by key head, counted through scenes; `bias` is of every row, for each head or for all.

    Rows stand as tokens do, and are not put in order.
    """

    keys: Tokens
    values: Tokens
    bias: np.ndarray


class Room(NamedTuple):
    """What a block is worked in: lines of strips.

    - `packed`: queries side by side, number by number. `outputs`: one below the other.
    - `weights`: of the rows that were taken, one below the other: scores at first.
    - `values`: of these rows. Where their `keys` stand, and their values (`places`); `biases`.
    - `tallies`: of each query the largest score, that before the last rows, the total of its
      weights, and by how much what it found before shrinks.
    """

    packed: np.ndarray
    outputs: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    keys: np.ndarray
    places: np.ndarray
    biases: np.ndarray
    tallies: np.ndarray


class Asked(NamedTuple):
    """Who asks: queries in order, where what they find is written, and lists of rows.

    Each block of queries has a list, or all have one.
    """

    queries: Tokens
    found: Tokens
    lists: np.ndarray


@compiled
@no_type_check
def attend(few, many, table, size, d, scale, threads):
    """Write what both find, in blocks of `size` queries: softmax over scale * score + bias.

    Those of `few`, whose lists may be long, come first.
    """
    wide, across = _whole(size, STRIP), _whole(d, STRIP)
    each = _WORD // table.keys.numbers.itemsize
    room = Room(
        _lines(threads, d // each * wide),
        _lines(threads, wide * across),
        _lines(threads, _TAKEN * wide),
        _lines(threads, _TAKEN // each * across),
        np.empty((threads, _TAKEN), np.int64),
        np.empty((threads, _TAKEN), np.int64),
        np.empty((threads, _TAKEN), np.float32),
        _lines(threads, 4 * wide),
    )
    blocks = _blocks(few, size) + _blocks(many, size)
    _attend(blocks, threads, (few, many, table, size, d, scale, room))


@part
@no_type_check
def _whole(count, size):
    """So many, and as many more as make a multiple of `size`."""
    return -(-count // size) * size


@part
@no_type_check
def _blocks(asked, size):
    """How many there are, of all heads."""
    return len(asked.queries.starts) * -(-asked.queries.orders.shape[1] // size)


@body
@no_type_check
def _lines(threads, count):
    """Room for so many numbers each, which begins where lines of a cache do."""
    room = np.empty(threads * count + _LINE // _WORD, np.float32)
    first = -np.int64(room.ctypes.data) % _LINE // _WORD
    return room[first : first + threads * count].reshape(threads, count)


@shared
@no_type_check
def _attend(number, few, many, table, size, d, scale, rooms):
    first = _blocks(few, size)
    asked, block = (few, number) if number < first else (many, number - first)
    heads, count = len(asked.queries.starts), asked.queries.orders.shape[1]
    blocks = -(-count // size)
    head, begin = block // blocks, block % blocks * size
    end = min(begin + size, count)
    x, start, step, order = of_head(asked.queries, head)
    room = _own(rooms, end - begin, d, _WORD // x.itemsize)
    _pack_queries(x, start, step, order, begin, end, d, room.packed)
    _attend_rows(
        table,
        head * len(table.keys.starts) // heads,
        asked.lists[block * len(asked.lists) // (heads * blocks)],
        d,
        scale * _LOG2E,
        room,
    )
    y, start, step, order = of_head(asked.found, head)
    _write(room.outputs, room.tallies[2], y, start, step, order, begin, end, d)


@body
@no_type_check
def _attend_rows(table, head, listed, d, scale, room):
    """Add to the outputs what listed rows of a head of keys give."""
    for first in range(0, len(listed), _TAKEN):
        taken = listed[first : first + _TAKEN]
        _take(table, head, taken, room)
        _attend_taken(table.keys.numbers, table.values.numbers, len(taken), d, scale, room)


@body
@no_type_check
def _own(rooms, queries, d, each):
    """What the thread that asks has, with room for so many queries, as a block begins."""
    packed, outputs, weights, values, keys, places, biases, tallies = rooms
    i, wide, across = member(len(packed)), _whole(queries, STRIP), _whole(d, STRIP)
    room = Room(
        _cut(packed[i], d // each, wide),
        _cut(outputs[i], wide, across),
        _cut(weights[i], _TAKEN, wide),
        _cut(values[i], _TAKEN // each, across),
        keys[i],
        places[i],
        biases[i],
        _cut(tallies[i], 4, wide),
    )
    room.outputs[:], room.tallies[:2], room.tallies[2] = 0, _LOWEST, 0
    return room


@part
@no_type_check
def _cut(numbers, lines, wide):
    return numbers[: lines * wide].reshape(lines, wide)


@body
@no_type_check
def _take(table, head, taken, room):
    """Note where rows stand, and their bias.

    The last is repeated, absent, until they are a multiple of `ROWS`.
    """
    keys, values, bias = table
    biases, base = bias[head * len(bias) // len(keys.starts)], np.int64(keys.numbers.ctypes.data)
    for j in range(_whole(len(taken), ROWS)):
        row = taken[min(j, len(taken) - 1)]
        room.keys[j] = base + (keys.starts[head] + row * keys.step) * keys.numbers.itemsize
        room.places[j] = values.starts[head] + row * values.step
        room.biases[j] = biases[row] * _LOG2E if j < len(taken) else _ABSENT


@body
@no_type_check
def _attend_taken(keys, values, taken, d, scale, room):
    """Add to the outputs what the rows that were taken give."""
    count = _whole(taken, ROWS)
    pairs = count * keys.itemsize // _WORD
    _score_all(keys, count, scale, room)
    _shrink(room.tallies)
    down, across = _line(room.weights), _line(room.values)
    for i in range(0, down, STRIP * _WORD):
        tops, totals = _place(room.tallies, 0) + i, _place(room.tallies, 2) + i
        weigh(keys, _place(room.weights, 0) + i, down, pairs, tops, totals)
    _pack_values(values, room.places, count, taken, d, room.values)
    for i in range(0, room.weights.shape[1], ROWS):
        weights = _place(room.weights, 0) + i * _WORD
        factors = _place(room.tallies, 3) + i * _WORD
        for j in range(0, across, STRIP * _WORD):
            taken, outputs = _place(room.values, 0) + j, _place(room.outputs, i) + j
            add_up(keys, weights, down, taken, across, pairs, factors, outputs)


@part
@no_type_check
def _score_all(like, count, scale, room):
    """Score the keys of the rows that were taken, `ROWS` at a time."""
    steps, down = len(room.packed), _line(room.packed)
    for row in range(0, count, ROWS):
        keys, biases = room.keys[row:].ctypes.data, room.biases[row:].ctypes.data
        for i in range(0, down, STRIP * _WORD):
            packed, tops = _place(room.packed, 0) + i, _place(room.tallies, 0) + i
            scores = _place(room.weights, row) + i
            score(like, keys, packed, down, steps, scale, biases, scores, tops)


@body
@no_type_check
def _shrink(tallies):
    """By how much what was found shrinks, since tops have risen."""
    for i in range(tallies.shape[1]):
        factor = power((tallies[1, i] - tallies[0, i]) * _LN2)
        tallies[1, i] = tallies[0, i]
        tallies[2, i] *= factor
        tallies[3, i] = factor


@body
@no_type_check
def _pack_queries(x, start, step, order, begin, end, d, packed):
    """Write queries side by side, number by number, those of bfloat16 in pairs."""
    each = _WORD // x.itemsize
    for first in range(begin, end, AHEAD):
        last = min(first + AHEAD, end)
        fetch_tokens(x, start, step, order, first, last, d)
        for i in range(first, last):
            source = start + order[i] * step
            for t in range(len(packed)):
                packed[t, i - begin] = word(x, source + each * t)


@body
@no_type_check
def _pack_values(x, places, count, taken, d, packed):
    """Write values, those of bfloat16 in pairs of two rows; absent rows have zeros.

    Their own, infinite ones, would be NaN times no weight.
    """
    each = _WORD // x.itemsize
    for t in range(taken // each):
        one, two = np.uint64(places[each * t]), np.uint64(places[each * t + each - 1])
        for i in range(d):
            packed[t, i] = both(x, one + np.uint64(i), two + np.uint64(i))
    packed[taken // each : count // each, :d] = 0
    if taken % each:
        last = np.uint64(places[taken - 1])
        for i in range(d):
            packed[taken // each, i] = alone(x, last + np.uint64(i))


@body
@no_type_check
def _write(outputs, totals, y, start, step, order, begin, end, d):
    """Write the outputs of a block where its queries stand."""
    for i in range(begin, end):
        target, share = np.uint64(start + order[i] * step), np.float32(1) / totals[i - begin]
        for j in range(d):
            put(y, target + np.uint64(j), outputs[i - begin, j] * share)


@part
@no_type_check
def _place(lines, row):
    """The address of a line."""
    return np.int64(lines.ctypes.data) + row * _line(lines)


@part
@no_type_check
def _line(lines):
    """Bytes of a line."""
    return lines.shape[1] * _WORD
