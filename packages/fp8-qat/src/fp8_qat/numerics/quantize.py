"""Real quantization: a tensor to FP8 codes and scales, and back."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor

from fp8_qat.numerics.blocks import (
    blocks_amax,
    check_scale,
    from_blocks,
    in_parts,
    over_blocks,
    to_blocks,
)
from fp8_qat.numerics.errors import check_tensor
from fp8_qat.numerics.formats import decode, encode
from fp8_qat.numerics.scales import Scale, exponents_of, scale_of
from fp8_qat.numerics.spec import Spec

_FLOAT16_MAX = torch.finfo(torch.float16).max
_AT_ONCE = 2**18  # values; what is worked on part by part needs no float32 copy of a weight
HIGH_PRECISION = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class QuantizedTensor:
    """FP8 codes with the scales that multiply them back.

    - `codes`: of the spec's FP8 dtype, in the shape of the original tensor, row by row in memory
      where `quantize` made them, as products on a GPU want them.
    - `scale`: (block_rows, block_columns); (1, 1) for one per tensor, (rows, 1) for one per row.
    """

    codes: Shaped[Tensor, "*lead k"]
    scale: Float32[Tensor, "block_rows block_columns"]
    spec: Spec

    @property
    def bytes(self) -> UInt8[Tensor, "*lead k"]:
        """The codes as raw bytes."""
        return self.codes.view(torch.uint8)

    @property
    def exponents(self) -> UInt8[Tensor, "block_rows block_columns"]:
        """The scales as E8M0 bytes; ValueError unless all are powers of two."""
        return exponents_of(self.scale)


def quantize(
    x: Float[Tensor, "*lead k"], spec: Spec, *, scale: Scale | None = None
) -> QuantizedTensor:
    """Quantize a float32, bfloat16 or float16 tensor.

    A spec of mode "delayed" or "static" needs the `scale` to use; "dynamic" finds its own.
    Raises ValueError for another dtype, a tensor without axes, and a scale that is missing or not
    one for each block.
    """
    blocks = to_blocks(check_high_precision(x), spec.granularity)
    scale = dynamic_scale(blocks, spec) if scale is None else given_scale(scale, blocks)
    codes = from_blocks(encode(scaled(blocks, scale), spec.fp8), x.shape).contiguous()
    return QuantizedTensor(codes=codes, scale=scale.scale, spec=spec)


def dequantize(
    quantized: QuantizedTensor, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*lead k"]:
    """Multiply the codes back, in float32, rounded once to `dtype` at the end, saturating.

    Raises ValueError for codes of another dtype than the spec's, and scales that are not one for
    each block.
    """
    codes, spec = quantized.codes, quantized.spec
    check_tensor("codes", codes)
    if codes.dtype != spec.fp8.dtype or codes.ndim == 0:
        raise ValueError(
            f"codes={codes.dtype} of shape {tuple(codes.shape)}; they must be {spec.fp8.dtype} "
            "with an axis at least: give what quantize(x, spec) returns"
        )
    blocks = to_blocks(codes.view(torch.uint8), spec.granularity).view(codes.dtype)
    check_scale("scale", quantized.scale, blocks)
    if codes.numel() <= _AT_ONCE:
        values = decode(blocks, spec.fp8).mul_(over_blocks(quantized.scale))
        return from_blocks(held(values, dtype).to(dtype), codes.shape)
    result = torch.empty(blocks.shape, dtype=dtype, device=codes.device)
    for part, rows in in_parts(blocks, _AT_ONCE):
        scale = over_blocks(quantized.scale[rows])
        result[part] = held(decode(blocks[part], spec.fp8).mul_(scale), dtype)
    return from_blocks(result, codes.shape)


def held(values: Float32[Tensor, "*shape"], dtype: torch.dtype) -> Float32[Tensor, "*shape"]:
    """Saturate values, in place, where float16 is to hold them.

    A code may stand for a little more than the value that it rounds: 65504, the last of float16,
    becomes 65536 under a scale that is a power of two, and would be infinite.
    """
    if dtype == torch.float16:
        values.clamp_(-_FLOAT16_MAX, _FLOAT16_MAX)
    return values


def dynamic_scale(blocks: Float[Tensor, "block_rows r block_columns c"], spec: Spec) -> Scale:
    """Find the scales of a tensor seen as blocks, from its own largest magnitudes."""
    if spec.mode != "dynamic":
        raise ValueError(
            f"mode={spec.mode!r}; it must be 'dynamic', or the scale of past steps or calibration "
            "given: pass scale=, or use spec.once() for a tensor that does not change"
        )
    return scale_of(blocks_amax(blocks), spec.rule, spec.fp8, blocks.dtype)


def given_scale(scale: Scale, blocks: Float[Tensor, "block_rows r block_columns c"]) -> Scale:
    """Give a scale back if it fits the blocks; ValueError, or TypeError for no tensors."""
    check_scale("scale", scale.scale, blocks)
    if scale.multiplier is not None:
        check_scale("multiplier", scale.multiplier, blocks)
    return scale


def scaled(
    blocks: Float[Tensor, "block_rows r block_columns c"], scale: Scale
) -> Float32[Tensor, "block_rows r block_columns c"]:
    """Bring values into the range of the format, in float32, in new memory."""
    if scale.multiplier is None:
        return blocks.float() / over_blocks(scale.scale)
    return blocks.float() * over_blocks(scale.multiplier)


def check_high_precision(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Give `x` back if it can be quantized; ValueError for its dtype or lack of axes."""
    check_tensor("x", x)
    if x.dtype not in HIGH_PRECISION:
        raise ValueError(
            f"dtype={x.dtype}; it must be float32, bfloat16 or float16: cast the tensor"
        )
    if x.ndim == 0:
        raise ValueError("shape=(); a tensor must have an axis to be quantized: give at least one")
    if x.shape[-1] == 0:
        raise ValueError(
            f"shape={tuple(x.shape)}; the last axis must hold a value to be quantized: leave such "
            "tensors out"
        )
    return x
