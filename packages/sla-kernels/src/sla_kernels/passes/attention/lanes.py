"""Vectors of float32 as wide as the processor's, in LLVM's terms."""

from collections.abc import Sequence
from typing import no_type_check

import llvmlite.binding
from llvmlite import ir
from numba import config

WORD, NUMBER, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_FUSED = ("contract",)
_EXPONENT = 23  # bits below it
_LEAST = -127.0  # powers of two below are zero
_WHOLE = 1.5 * 2**23  # sums with it are whole numbers
_TAYLOR = (  # of two to the power of what lies between -1/2 and 1/2
    1.3333558146428443e-3,
    9.618129107628477e-3,
    5.550410866482158e-2,
    2.402265069591007e-1,
    6.931471805599453e-1,
    1.0,
)


def _features() -> frozenset[str]:
    """What Numba compiles for, as LLVM names it."""
    named: str | None = vars(config)["CPU_FEATURES"]
    if named is None:
        named = llvmlite.binding.get_host_cpu_features().flatten()
    return frozenset(name[1:] for name in named.split(",") if name.startswith("+"))


_KNOWN = _features()
LANES = 16 if "avx512f" in _KNOWN else 4 if "neon" in _KNOWN else 8  # of a vector
ROWS = 4 if LANES == 8 else 8  # that are multiplied with a strip at a time
ACROSS = 2  # vectors in a strip: registers hold its sums with all rows, and some more
STRIP = LANES * ACROSS
MULTIPLIES_FLOAT32 = {"avx2", "fma"} <= _KNOWN or "neon" in _KNOWN
# An older LLVM asks for whole numbers in place of bfloat16, which it does not know.
MULTIPLIES_BFLOAT16 = "avx512bf16" in _KNOWN and llvmlite.binding.llvm_version_info >= (20,)


class _Bfloat16(ir.Type):  # type: ignore[misc]
    """The type, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat16)

    def __hash__(self) -> int:
        return hash(_Bfloat16)


FLOATS, WORDS = ir.VectorType(FLOAT, LANES), ir.VectorType(WORD, LANES)
_PAIRS = ir.VectorType(_Bfloat16(), 2 * LANES)
_HALVES = ir.VectorType(ir.IntType(16), 2 * LANES)
BYTES = 4 * LANES
ZERO = FLOATS(None)


def same(value: float) -> ir.Constant:
    """The number in all lanes."""
    return ir.Constant(FLOATS, [float(value)] * LANES)


@no_type_check
def read(builder, address, kind=FLOATS):
    """What stands there."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)


@no_type_check
def write(builder, value, address):
    """Store it there."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=4)


@no_type_check
def behind(builder, address, count, step):
    """The address so many steps behind."""
    return builder.add(address, builder.mul(count, step))


@no_type_check
def spread(builder, number):
    """A number in all lanes."""
    kind = ir.VectorType(number.type, LANES)
    none = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(none, number, WORD(0)), none, WORDS(None))


@no_type_check
def plus_product(builder, total, x, y):
    """Sums, with the products of two vectors added."""
    x, y = (builder.bitcast(z, FLOATS) for z in (x, y))
    return builder.fadd(builder.fmul(x, y, flags=_FUSED), total, flags=_FUSED)


@no_type_check
def plus_pairs(builder, total, x, y):
    """Sums, with the products of two vectors of pairs of bfloat16 added, both of a pair."""
    x, y = (builder.bitcast(word, _PAIRS) for word in (x, y))
    return _called(builder, "llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, (total, x, y))


@no_type_check
def larger(builder, x, y):
    """The larger of two, y where they cannot be told."""
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


@no_type_check
def power_of_two(builder, x, factors=_TAYLOR):
    """Two to the power of what is not above zero, right to a few last bits.

    NaN stays, if its lowest bits are zero, as those of bfloat16 are.
    """
    x = builder.select(builder.fcmp_ordered("<", x, same(_LEAST)), same(_LEAST), x)
    whole = _called(builder, f"llvm.rint.v{LANES}f32", FLOATS, (x,))
    raised = builder.fadd(x, same(_WHOLE))  # its lowest bits are those of the whole number
    rest, found = builder.fsub(x, whole), same(factors[0])
    for factor in factors[1:]:
        found = plus_product(builder, same(factor), found, rest)
    up = builder.shl(builder.bitcast(raised, WORDS), ir.Constant(WORDS, [_EXPONENT] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(found, WORDS), up), FLOATS)


@no_type_check
def rough_power_of_two(builder, x):
    """The same, right to more bits than bfloat16 has."""
    return power_of_two(builder, x, _TAYLOR[1:])


@no_type_check
def full_power_of_two(builder, x):
    """The same, whatever is not a number."""
    return builder.select(builder.fcmp_unordered("uno", x, x), x, power_of_two(builder, x))


@no_type_check
def in_pairs(builder, x, y):
    """Two vectors rounded to bfloat16, the second in the upper halves of the lanes."""
    kind = ir.VectorType(WORD, 2 * LANES)
    side_by_side = builder.shuffle_vector(x, y, ir.Constant(kind, list(range(2 * LANES))))
    rounded = builder.bitcast(builder.fptrunc(side_by_side, _PAIRS), _HALVES)
    turns = [half * LANES + lane for lane in range(LANES) for half in (0, 1)]
    pairs = builder.shuffle_vector(rounded, rounded, ir.Constant(kind, turns))
    return builder.bitcast(pairs, FLOATS)


@no_type_check
def _called(builder, name, result, given: Sequence[ir.Value]):
    kinds = ir.FunctionType(result, [value.type for value in given])
    known = builder.module.globals.get(name) or ir.Function(builder.module, kinds, name)
    return builder.call(known, given)
