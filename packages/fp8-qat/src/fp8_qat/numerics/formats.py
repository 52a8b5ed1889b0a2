"""The two FP8 formats: their ranges, their codes, and rounding to them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int8, Shaped
from torch import Tensor

_EXPONENT_BITS_OF_FLOAT32 = 0x7F800000

# E4M3 in the bits of a float32
_SIGN_AND_MAGNITUDE = -0x78100000  # bits 31 and 26 to 20: moving fills those between with the sign
_LAST_MANTISSA = 1 << 20
_LEADING = 0x08000000  # the lowest of the four exponent bits that E4M3 lacks
_FLOAT32_TO_E4M3 = 2.0 ** (127 - 7)  # the difference of their exponents' biases
_NAN = 0x7F  # the one magnitude that is none


@dataclass(frozen=True, kw_only=True)
class Format:
    """One 8-bit floating-point format of Micikevicius et al., "FP8 Formats for Deep Learning".

    `max` is its largest finite value, `min_exponent` the exponent of its smallest
    normal value, and `mantissa_bits` the number of stored mantissa bits.
    """

    name: str
    dtype: torch.dtype
    mantissa_bits: int
    min_exponent: int

    @property
    def max(self) -> float:
        # Not a field: those are symbols to torch.compile(dynamic=True), which breaks on them.
        return torch.finfo(self.dtype).max

    @property
    def max_exponent(self) -> int:
        """The exponent of the largest finite value: 8 for E4M3, 15 for E5M2."""
        return int(self.max).bit_length() - 1


E4M3 = Format(name="e4m3", dtype=torch.float8_e4m3fn, mantissa_bits=3, min_exponent=-6)
E5M2 = Format(name="e5m2", dtype=torch.float8_e5m2, mantissa_bits=2, min_exponent=-14)
FORMATS = {format.name: format for format in (E4M3, E5M2)}


def encode(values: Float[Tensor, "*shape"], format: Format) -> Shaped[Tensor, "*shape"]:
    """Give the nearest code of every value, ties to even, saturating; NaN stays NaN.

    The clamp comes first because the cast itself overflows to NaN (E4M3) or infinity
    (E5M2) on some versions of PyTorch and saturates on others.
    """
    return values.clamp(-format.max, format.max).to(format.dtype)


def decode(codes: Shaped[Tensor, "*shape"], format: Format) -> Float32[Tensor, "*shape"]:
    """Give the exact float32 value of every code, in new memory.

    On a CPU a cast from FP8 is scalar code. Larger formats have the same fields, with longer
    exponents and mantissas, so codes are moved into their bits by integer operations, which are
    several times faster.
    """
    if codes.device.type != "cpu":
        return codes.to(torch.float32)
    moved = codes.view(torch.int8)
    if format.name == "e5m2":
        return moved.to(torch.int16).bitwise_left_shift_(8).view(torch.float16).float()
    finite = _all_finite(moved)  # before the bits take memory
    bits = moved.to(torch.int32).bitwise_left_shift_(20).bitwise_and_(_SIGN_AND_MAGNITUDE)
    if not finite:
        # Only NaN's successor carries into the next bit; with all four it is NaN in float32 too.
        bits.bitwise_or_((bits + _LAST_MANTISSA).bitwise_and_(_LEADING).mul_(0b1111))
    return bits.view(torch.float32).mul_(_FLOAT32_TO_E4M3)


def _all_finite(codes: Int8[Tensor, "*shape"]) -> bool:
    """Whether no E4M3 code is NaN; False where a program is traced, which must hold for all."""
    seen = type(codes) is Tensor and not torch.compiler.is_compiling() and codes.numel() > 0
    return seen and int(codes.bitwise_and(_NAN).amax()) < _NAN


def round_(values: Float32[Tensor, "*shape"], format: Format) -> Float32[Tensor, "*shape"]:
    """Round to the nearest representable value, saturating, using `values` as scratch.

    The result equals `decode(encode(values))` bit for bit, also in the sign of zero. On a
    CPU it is computed in float32, where casts to FP8 and back are several times slower:
    the step between neighbors is a power of two that follows from a value's exponent.
    """
    values.clamp_(-format.max, format.max)
    if values.device.type != "cpu":
        return values.to(format.dtype).to(torch.float32)
    power = (values.view(torch.int32) & _EXPONENT_BITS_OF_FLOAT32).view(torch.float32)
    step = power.clamp_(min=2.0**format.min_exponent).mul_(2.0**-format.mantissa_bits)
    return values.div_(step).round_().mul_(step)
