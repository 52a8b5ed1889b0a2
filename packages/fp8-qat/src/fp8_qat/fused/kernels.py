# mypy: disable-error-code="no-untyped-def, no-untyped-call, type-arg, valid-type"
"""One Triton kernel: load a row once, optionally normalize or activate it, quantize, store.

A program holds one row of `BLOCK` elements, at least as many as the row has, and scales
runs of `WIDTH` elements. Division is IEEE (`div_rn`); Triton's own `/` is not.
`no_type_check` keeps run-time type checkers from wrapping what Triton must read as source.
"""

from typing import no_type_check

from fp8_qat.fused.runtime import jit, tl


@jit
@no_type_check
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@jit
@no_type_check
def _layer_norm(x, inside, columns, weight_ptr, bias_ptr, eps, offsets):
    length = tl.full((), columns, tl.float32)
    centered = tl.where(inside, x - tl.div_rn(tl.sum(x, 0), length), 0.0)
    variance = tl.div_rn(tl.sum(centered * centered, 0), length)
    weight = tl.load(weight_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    return centered * tl.rsqrt(variance + eps) * weight + bias


@jit
@no_type_check
def _floor_to_power(x):
    return (x.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)


@jit
@no_type_check
def _power(biased):
    bits = tl.where(biased == 0, 0x00400000, biased << 23)
    value = bits.to(tl.float32, bitcast=True)
    return tl.where((biased < 0) | (biased > 254), float("nan"), value)


@jit
@no_type_check
def _multiplier_and_scale(amax, FMAX: tl.constexpr, LARGEST: tl.constexpr, RULE: tl.constexpr):
    """The rules of `fp8_qat.numerics.scales`, one number per run."""
    fmax = tl.full(amax.shape, FMAX, tl.float32)
    one = tl.full(amax.shape, 1.0, tl.float32)
    if RULE == "divide":
        scale = tl.div_rn(amax, fmax)
        scale = tl.where(scale == 0.0, 1.0, scale)
        multiplier = scale  # not used: this rule divides
    elif RULE == "multiply" or RULE == "multiply_pow2":
        usable = (amax > 0.0) & (amax < float("inf"))
        multiplier = tl.where(usable, tl.div_rn(fmax, amax), 1.0)
        multiplier = tl.where(multiplier == float("inf"), LARGEST, multiplier)
        if RULE == "multiply_pow2":
            multiplier = _floor_to_power(multiplier)
        scale = tl.div_rn(one, multiplier)
    elif RULE == "reciprocal" or RULE == "reciprocal_pow2":
        scale = tl.div_rn(tl.where(amax < 1e-4, 1e-4, amax), fmax)
        if RULE == "reciprocal_pow2":
            bits = scale.to(tl.int32, bitcast=True) & 0x7FFFFFFF  # NaN has a sign, too
            up = ((bits & 0x7FFFFF) != 0).to(tl.int32)
            biased = tl.minimum(tl.maximum((bits >> 23) + up, 1), 254)
            scale = (biased << 23).to(tl.float32, bitcast=True)
        multiplier = tl.div_rn(one, scale)
    else:
        tl.static_assert(RULE == "mx_rceil")
        target = amax * tl.div_rn(one, fmax)
        bits = target.to(tl.int32, bitcast=True)
        exponent, mantissa = bits >> 23, bits & 0x7FFFFF
        small = (exponent == 0) & (mantissa <= 0x00400000)
        up = (mantissa > 0) & (exponent != 254) & (small == 0)
        exponent = tl.where(target == float("inf"), 254, exponent + up.to(tl.int32))
        exponent = tl.where(target != target, 255, exponent)
        multiplier, scale = _power(254 - exponent), _power(exponent)
    return multiplier, scale


@jit
@no_type_check
def _round(x, MANTISSA: tl.constexpr, SMALLEST: tl.constexpr):
    """Round to representable values in float32: the cast that follows is then exact."""
    bits = x.to(tl.int32, bitcast=True)
    power = (bits & 0x7F800000).to(tl.float32, bitcast=True)
    shift = tl.maximum(power, SMALLEST) * (1.5 * 2.0 ** (23 - MANTISSA))
    rounded = (tl.abs(x) + shift) - shift
    signed = rounded.to(tl.int32, bitcast=True) | (bits & -0x80000000)
    return signed.to(tl.float32, bitcast=True)


@jit
@no_type_check
def _quantize_rows_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    codes_ptr,
    scale_ptr,
    columns,
    row_stride,
    runs,
    eps,
    FMAX: tl.constexpr,
    LARGEST: tl.constexpr,
    BEFORE: tl.constexpr,
    RULE: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    MANTISSA: tl.constexpr,
    SMALLEST: tl.constexpr,
    ROUND_FIRST: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    loaded = tl.load(x_ptr + row * row_stride + offsets, mask=inside, other=0.0)
    x = loaded.to(tl.float32)
    if BEFORE == "layer_norm":
        x = _layer_norm(x, inside, columns, weight_ptr, bias_ptr, eps, offsets)
        x = tl.where(inside, x, 0.0).to(loaded.dtype).to(tl.float32)
    elif BEFORE == "gelu":
        x = _gelu(x).to(loaded.dtype).to(tl.float32)
    tile = tl.reshape(x, (BLOCK // WIDTH, WIDTH))  # [runs, width]
    nan = tl.max((tile != tile).to(tl.int32), 1) > 0  # which the maximum may or may not show
    amax = tl.where(nan, float("nan"), tl.max(tl.abs(tile), 1))
    multiplier, scale = _multiplier_and_scale(amax, FMAX, LARGEST, RULE)
    if RULE == "divide":
        tile = tl.div_rn(tile, tl.broadcast_to(scale[:, None], tile.shape))
    else:
        tile = tile * multiplier[:, None]
    clamped = tl.minimum(tl.maximum(tile, -FMAX), FMAX)
    tile = tl.where(tile == tile, clamped, tile)  # NaN stays NaN
    if ROUND_FIRST:
        tile = _round(tile, MANTISSA, SMALLEST)
    codes = tl.reshape(tile, (BLOCK,)).to(codes_ptr.dtype.element_ty)
    tl.store(codes_ptr + row * columns + offsets, codes, mask=inside)
    run = tl.arange(0, BLOCK // WIDTH)
    tl.store(scale_ptr + row * runs + run, scale, mask=run < runs)
