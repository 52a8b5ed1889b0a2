"""From a largest magnitude to a scale: the formulas of the public FP8 recipes.

All arithmetic is float32 with IEEE division unless a rule says otherwise; FMAX is the
largest finite value of the format. Every rule maps `amax` to a `Scale`:

| rule | formula | equals |
|---|---|---|
| divide | s = amax / FMAX, 1 where that is 0; x / s | float32 scales, division |
| multiply | m = FMAX / amax; x * m; s = 1 / m | Transformer Engine, FP32 scales |
| multiply_pow2 | the same with m floored to a power of two | the same, power-of-two scales |
| reciprocal | s = max(amax, 1e-4) / FMAX; x * (1 / s) | DeepGEMM |
| reciprocal_pow2 | the same with s raised to a power of two | DeepGEMM, ue8m0 |
| double | m = float32(FMAX / max(float64(amax), 1e-12)); x * m | torchao.float8, tensorwise |
| double_pow2 | the same with m floored to a power of two | torchao.float8, rowwise |
| mx_rceil | s = 2^ceil(log2(amax * float32(1 / FMAX))) | MXFP8 of Transformer Engine |
| mx_floor | s = 2^(floor(log2(amax)) - EMAX) | OCP Microscaling specification 1.0, section 6.3 |
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from fp8_qat.numerics.formats import Format

_FLOAT32_MAX = torch.finfo(torch.float32).max
_MANTISSA_MASK = 0x7FFFFF
_MANTISSA_BITS = 23
_SMALLEST_POWER = 0x00400000  # 2^-127, subnormal in float32


class Scale(NamedTuple):
    """What a value is multiplied with on the way in, and on the way back.

    - `multiplier`: applied before rounding; None means: divide by `scale`.
    - `scale`: multiplies a code's value back into the original unit.
    """

    multiplier: Float32[Tensor, "*blocks"] | None
    scale: Float32[Tensor, "*blocks"]


def scale_of(
    amax: Float32[Tensor, "*blocks"], rule: str, format: Format, dtype: torch.dtype
) -> Scale:
    """Apply one rule; `dtype` is that of the tensor whose largest magnitude is given."""
    return _RULES[rule](amax, format, dtype)


def _divide(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    scale = amax / _full(amax, format.max)
    return Scale(None, torch.where(scale == 0, 1.0, scale))


def _multiply(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    multiplier = _multiplier(amax, format, dtype)
    return Scale(multiplier, 1.0 / multiplier)


def _multiply_pow2(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    multiplier = _floor_to_power(_multiplier(amax, format, dtype))
    return Scale(multiplier, 1.0 / multiplier)


def _multiplier(amax: Tensor, format: Format, dtype: torch.dtype) -> Tensor:
    usable = torch.isfinite(amax) & (amax > 0)
    multiplier = torch.where(usable, _full(amax, format.max) / amax, 1.0)
    largest = torch.finfo(dtype).max  # what the input itself can hold
    return torch.where(torch.isinf(multiplier), largest, multiplier)


def _reciprocal(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    scale = amax.clamp(min=1e-4) / _full(amax, format.max)
    return Scale(1.0 / scale, scale)


def _reciprocal_pow2(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    scale = (amax.clamp(min=1e-4) / _full(amax, format.max)).abs()  # NaN has a sign, too
    bits = scale.view(torch.int32)
    up = ((bits & _MANTISSA_MASK) != 0).to(torch.int32)
    scale = (((bits >> _MANTISSA_BITS) + up).clamp(1, 254) << _MANTISSA_BITS).view(torch.float32)
    return Scale(1.0 / scale, scale)


def _double(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    multiplier = _multiplier_in_float64(amax, format)
    return Scale(multiplier, 1.0 / multiplier)


def _double_pow2(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    multiplier = _floor_to_power(_multiplier_in_float64(amax, format))
    return Scale(multiplier, 1.0 / multiplier)


def _multiplier_in_float64(amax: Tensor, format: Format) -> Tensor:
    wide = amax.double().clamp(min=1e-12)
    return (_full(wide, format.max) / wide).float()


def _mx_rceil(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    target = amax * _full(amax, 1.0 / format.max)
    bits = target.view(torch.int32)
    exponent, mantissa = bits >> _MANTISSA_BITS, bits & _MANTISSA_MASK
    # Below 2^-127 (half of the smallest normal) the lowest exponent is large enough.
    small = (exponent == 0) & (mantissa <= _SMALLEST_POWER)
    up = (mantissa > 0) & (exponent != 254) & ~small
    exponent = torch.where(torch.isinf(target), 254, exponent + up)
    return _from_exponent(torch.where(torch.isnan(target), 255, exponent))


def _mx_floor(amax: Tensor, format: Format, dtype: torch.dtype) -> Scale:
    exponent = (amax.view(torch.int32) >> _MANTISSA_BITS) - format.max_exponent
    return _from_exponent(torch.where(torch.isnan(amax), 255, exponent.clamp(min=0)))


def _from_exponent(biased: Tensor) -> Scale:
    """The scale 2^(biased - 127) and its inverse; 255 is NaN."""
    biased = biased.to(torch.int32)
    return Scale(_power(254 - biased), _power(biased))


def _power(biased: Tensor) -> Tensor:
    bits = torch.where(biased == 0, _SMALLEST_POWER, biased << _MANTISSA_BITS)
    value = bits.to(torch.int32).view(torch.float32)
    return torch.where((biased < 0) | (biased > 254), torch.nan, value)


def exponents_of(scale: Float32[Tensor, "*blocks"]) -> UInt8[Tensor, "*blocks"]:
    """Give the E8M0 byte (bias 127, 255 is NaN) of scales that are powers of two.

    Raises ValueError if a scale is no power of two.
    """
    bits = scale.contiguous().view(torch.int32)
    exponent = bits >> _MANTISSA_BITS
    nan = torch.isnan(scale)
    power = ((bits & _MANTISSA_MASK) == 0) & (exponent > 0) & (exponent < 255)
    if not bool((power | nan | (bits == _SMALLEST_POWER)).all()):
        raise ValueError(
            f"scale={scale.flatten()[:4].tolist()}; each must be a power of two, which is all that "
            "E8M0 holds: use an MX recipe"
        )
    return torch.where(nan, 255, exponent).to(torch.uint8)


def _full(like: Tensor, value: float) -> Tensor:
    """A number as a tensor: with a Python number PyTorch may divide by way of a reciprocal."""
    return torch.full((), value, dtype=like.dtype, device=like.device)


def _floor_to_power(values: Tensor) -> Tensor:
    return (values.view(torch.int32) & ~_MANTISSA_MASK).view(torch.float32)


_RULES: dict[str, Callable[[Tensor, Format, torch.dtype], Scale]] = {
    "divide": _divide,
    "multiply": _multiply,
    "multiply_pow2": _multiply_pow2,
    "reciprocal": _reciprocal,
    "reciprocal_pow2": _reciprocal_pow2,
    "double": _double,
    "double_pow2": _double_pow2,
    "mx_rceil": _mx_rceil,
    "mx_floor": _mx_floor,
}
