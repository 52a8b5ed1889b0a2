"""What all passes are made of: how they are compiled, and single numbers of two types.

Arrays are flat. Those of bfloat16 come as their bits, which NumPy has no type for.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, no_type_check

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

FREE = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order; NaN and infinity stay
_SETTINGS: dict[str, Any] = {"fastmath": FREE, "error_model": "numpy", "no_cfunc_wrapper": True}
_INNER = {**_SETTINGS, "no_cpython_wrapper": True}
AHEAD = 16  # tokens that are brought near before they are read
LINE = 64  # bytes that come together
_EXPONENT = np.uint32(0x7F800000)
_HALF = np.uint32(0x7FFF)
_NAN = np.uint16(0x7FC0)
_TEXTS = (path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
_SOURCES = sha256(b"".join(_TEXTS)).hexdigest()[:8]


def compiled(body: Callable[..., None]) -> Callable[..., None]:
    """Compile a pass; it holds no lock, and what was compiled is kept where a folder can be.

    What is kept lies under its name, and knows its own file alone, not those of its parts.
    """
    body.__qualname__ += f"_{_SOURCES}"
    try:
        return numba.njit(body, nogil=True, cache=True, **_SETTINGS)
    except RuntimeError:  # no folder can be written
        return numba.njit(body, nogil=True, **_SETTINGS)


def body(body: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a piece of passes by itself."""
    return numba.njit(body, nogil=True, **_INNER)


def part(body: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of passes into each of them."""
    return numba.njit(body, inline="always", **_SETTINGS)


@intrinsic
@no_type_check
def as_float(context, bits):
    """The float32 of these bits."""

    def made(_, builder, __, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), made


@intrinsic
@no_type_check
def as_bits(context, number):
    """The bits of a float32."""

    def made(_, builder, __, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), made


@intrinsic
@no_type_check
def fetch(context, x, at):
    """Bring what stands there near, since it is read soon; a place out of range does no harm."""

    def made(kind, builder, signature, arguments):
        array = kind.make_array(signature.args[0])(kind, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(8).as_pointer())
        whole = ir.IntType(32)
        taken = ir.FunctionType(ir.VoidType(), [place.type, whole, whole, whole])
        called = builder.module.declare_intrinsic("llvm.prefetch", [place.type], taken)
        builder.call(called, [place, whole(0), whole(3), whole(1)])  # to read, often, as data
        return kind.get_dummy_value()

    return types.void(x, at), made


@no_type_check
def number(x):
    """A float32 of what an array holds."""
    raise NotImplementedError


@overload(number, inline="always")
@no_type_check
def _number(x):
    if x == types.uint16:
        return lambda x: as_float(np.uint32(x) << np.uint32(16))
    return lambda x: x


@no_type_check
def both(x, one, two):
    """What fills a word, as a float32: the first of two numbers, or two of bfloat16."""
    raise NotImplementedError


@overload(both, inline="always")
@no_type_check
def _both(x, one, two):
    if x.dtype == types.uint16:
        return lambda x, one, two: as_float(
            np.uint32(x[one]) | (np.uint32(x[two]) << np.uint32(16))
        )
    return lambda x, one, two: x[one]


@no_type_check
def alone(x, one):
    """What fills a word, as a float32: a number, beside zero where there is room for two."""
    raise NotImplementedError


@overload(alone, inline="always")
@no_type_check
def _alone(x, one):
    if x.dtype == types.uint16:
        return lambda x, one: as_float(np.uint32(x[one]))
    return lambda x, one: x[one]


@no_type_check
def put(out, at, value):
    """Store a float32, rounded to what the array holds."""
    raise NotImplementedError


@overload(put, inline="always")
@no_type_check
def _put(out, at, value):
    if out.dtype == types.uint16:

        def rounded(out, at, value):
            bits = as_bits(value)
            kept = (bits + _HALF + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            out[at] = np.uint16(kept) if value == value else _NAN

        return rounded

    def whole(out, at, value):
        out[at] = value

    return whole


@part
@no_type_check
def of_head(tokens, head):
    """A head of `Tokens`: numbers, where they start, how far apart tokens are, and their order."""
    scene = head * len(tokens.orders) // len(tokens.starts)
    return tokens.numbers, tokens.starts[head], tokens.step, tokens.orders[scene]


@part
@no_type_check
def fetch_tokens(x, start, step, order, begin, end, d):
    """Bring ordered tokens near: they lie anywhere, and processors foresee straight lines alone."""
    for i in range(min(begin + AHEAD, len(order)), min(end + AHEAD, len(order))):
        for j in range(0, d, LINE // x.itemsize):
            fetch(x, start + order[i] * step + j)


@part
@no_type_check
def finite(value):
    """The number, or zero where it is not finite."""
    return value if as_bits(value) & _EXPONENT != _EXPONENT else np.float32(0)


@part
@no_type_check
def power(x):
    """Exp of what is not positive: a power of two times a polynomial, right to a few last bits."""
    y = max(x * np.float32(1.4426950408889634), np.float32(-126))
    whole = np.floor(y + np.float32(0.5))
    rest = y - whole
    found = np.float32(1.3333558146428443e-3)
    found = found * rest + np.float32(9.618129107628477e-3)
    found = found * rest + np.float32(5.550410866482158e-2)
    found = found * rest + np.float32(2.402265069591007e-1)
    found = found * rest + np.float32(6.931471805599453e-1)
    found = found * rest + np.float32(1)
    scaled = found * as_float(np.uint32(np.int32(whole) + np.int32(127)) << np.uint32(23))
    return scaled if y > np.float32(-126) else np.float32(0)


@part
@no_type_check
def ascending(value):
    """An integer that ascends as values do, -0 before 0, NaN above everything.

    Compilers compare many integers at a time, and floats one by one where NaN may be among them.
    """
    bits = np.int32(as_bits(value))
    bits ^= (bits >> np.int32(31)) & np.int32(0x7FFFFFFF)
    return bits if value == value else np.int32(0x7FFFFFFF)


@part
@no_type_check
def packed(value, place):
    """An integer that ascends as values do, then as places do; -0 is 0, NaN above everything.

    As an integer -0 is -1, and is told there: compilers leave out a sum with 0.
    """
    bits = ascending(value)
    return (np.int64(bits if bits != -1 else 0) << np.int64(32)) | np.int64(place)
