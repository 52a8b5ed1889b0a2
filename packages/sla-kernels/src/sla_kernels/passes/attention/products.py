"""The two products of attention, and the weights between them, a strip of numbers at a time.

A strip is as many float32 as some vectors hold side by side: queries where scores are made, numbers
of values where outputs are. Sums stay in registers, and rows are read where they lie, by their
addresses. bfloat16 is multiplied in pairs, which take the place of one float32.
"""

from typing import no_type_check

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sla_kernels.passes.attention.lanes import (
    ACROSS,
    BYTES,
    FLOAT,
    NUMBER,
    ROWS,
    WORD,
    WORDS,
    ZERO,
    behind,
    full_power_of_two,
    in_pairs,
    larger,
    plus_pairs,
    plus_product,
    read,
    rough_power_of_two,
    spread,
    write,
)

_WORD_BYTES = NUMBER(4)
_PLACE = types.int64  # an address, or how far apart addresses are


@intrinsic
@no_type_check
def score(context, like, keys, queries, apart, count, scale, biases, scores, most):
    """Score `ROWS` keys for a strip of queries: scale * product + bias; raise `most` to it.

    At `keys` stand their addresses, at `biases` their biases. Numbers of a key stand side by side,
    `count` words; those of the queries `apart`, as do rows of scores.
    """

    def made(_, builder, signature, arguments):
        _, keys, queries, apart, count, scale, biases, scores, most = arguments
        starts = [read(builder, _behind(builder, keys, 8 * i), NUMBER) for i in range(ROWS)]
        sums = [_sums(builder, [ZERO] * ACROSS) for _ in range(ROWS)]
        factors = starts, _WORD_BYTES, queries, apart, count
        _add_products(builder, _in_halves(signature), sums, *factors)
        scale, tops = spread(builder, scale), _strip(builder, most)
        for row, line in enumerate(_lines(builder, scores, apart)):
            bias = spread(builder, read(builder, _behind(builder, biases, 4 * row), FLOAT))
            products = (builder.load(total) for total in sums[row])
            found = [plus_product(builder, bias, x, scale) for x in products]
            _write_strip(builder, found, line)
            tops = [larger(builder, *pair) for pair in zip(found, tops, strict=True)]
        _write_strip(builder, tops, most)

    kinds = like, *[_PLACE] * 4, types.float32, *[_PLACE] * 3
    return types.void(*kinds), _returning_nothing(made)


@intrinsic
@no_type_check
def weigh(context, like, scores, apart, count, tops, totals):
    """Replace scores of a strip by powers of two of how far they lie below the tops; add up totals.

    Where numbers are halves, two rows become one, with as many words.
    """

    def made(_, builder, signature, arguments):
        _, scores, apart, count, tops, totals = arguments
        halves, tops = _in_halves(signature), _strip(builder, tops)
        each, power = (2, rough_power_of_two) if halves else (1, full_power_of_two)
        sums = _sums(builder, _strip(builder, totals))
        with cgutils.for_range(builder, count) as turn:
            source = behind(builder, scores, builder.mul(turn.index, NUMBER(each)), apart)
            rows = [_strip(builder, behind(builder, source, NUMBER(i), apart)) for i in range(each)]
            columns = list(zip(sums, tops, *rows, strict=True))
            found = [_weigh(builder, power, *column) for column in columns]
            _write_strip(builder, found, behind(builder, scores, turn.index, apart))
        _write_strip(builder, [builder.load(total) for total in sums], totals)

    return types.void(like, *[_PLACE] * 5), _returning_nothing(made)


@no_type_check
def _weigh(builder, power, total, top, *scores):
    """The weights of one score or two, in the place of one, added to the total."""
    found = [power(builder, builder.fsub(x, top)) for x in scores]
    for weight in found:
        builder.store(builder.fadd(builder.load(total), weight), total)
    return found[0] if len(found) == 1 else in_pairs(builder, *found)


@intrinsic
@no_type_check
def add_up(context, like, weights, apart, values, across, count, factors, outputs):
    """Add to the outputs of `ROWS` queries, once multiplied by `factors`, weights times values.

    There are `count` values, or pairs of them, `across` apart, as outputs are; weights `apart`.
    """

    def made(_, builder, signature, arguments):
        _, weights, apart, values, across, count, factors, outputs = arguments
        lines = _lines(builder, outputs, across)
        starts = _lines(builder, weights, _WORD_BYTES)
        sums = []
        for place, line in zip(_lines(builder, factors, _WORD_BYTES), lines, strict=True):
            factor = spread(builder, read(builder, place, FLOAT))
            sums.append(_sums(builder, [builder.fmul(x, factor) for x in _strip(builder, line)]))
        _add_products(builder, _in_halves(signature), sums, starts, apart, values, across, count)
        for line, row in zip(lines, sums, strict=True):
            _write_strip(builder, [builder.load(total) for total in row], line)

    return types.void(like, *[_PLACE] * 7), _returning_nothing(made)


@intrinsic
@no_type_check
def word(context, x, at):
    """What is multiplied in one lane, from there on: a number, or two of bfloat16."""

    def made(kind, builder, signature, arguments):
        array = kind.make_array(signature.args[0])(kind, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), FLOAT.as_pointer())
        return builder.load(place, align=2)

    return types.float32(x, at), made


@no_type_check
def _add_products(builder, halves, sums, starts, step, strips, apart, count):
    """Add to a row of sums for each of `starts` the products of numbers from there with strips."""
    plus = plus_pairs if halves else plus_product
    with cgutils.for_range(builder, count) as turn:
        strip = _strip(builder, behind(builder, strips, turn.index, apart), WORDS)
        for start, row in zip(starts, sums, strict=True):
            word = spread(builder, read(builder, behind(builder, start, turn.index, step), WORD))
            for total, words in zip(row, strip, strict=True):
                builder.store(plus(builder, builder.load(total), word, words), total)


@no_type_check
def _lines(builder, address, apart):
    """Addresses of `ROWS` lines."""
    return [behind(builder, address, NUMBER(row), apart) for row in range(ROWS)]


@no_type_check
def _behind(builder, address, count):
    return builder.add(address, NUMBER(count))


@no_type_check
def _sums(builder, values):
    """Vectors that change, which compilers keep in registers."""
    return [cgutils.alloca_once_value(builder, value) for value in values]


@no_type_check
def _strip(builder, address, kind=ZERO.type):
    return [read(builder, _behind(builder, address, BYTES * i), kind) for i in range(ACROSS)]


@no_type_check
def _write_strip(builder, vectors, address):
    for i, vector in enumerate(vectors):
        write(builder, vector, _behind(builder, address, BYTES * i))


@no_type_check
def _in_halves(signature):
    """Whether numbers are of bfloat16."""
    return signature.args[0].dtype == types.uint16


@no_type_check
def _returning_nothing(made):
    def whole(kind, builder, signature, arguments):
        made(kind, builder, signature, arguments)
        return kind.get_dummy_value()

    return whole
