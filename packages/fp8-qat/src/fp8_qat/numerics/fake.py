"""Quantize and multiply back as one differentiable step.

The straight-through estimator (Bengio et al., arXiv 1308.3432) is one
`torch.autograd.Function` with high precision in and out. Were the FP8 codes a tensor of
their own between two steps, autograd would cast the gradient to their dtype, and
gradients below 2^-10 would become zero.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fp8_qat.numerics.blocks import AT_ONCE, from_blocks, in_parts, over_blocks, to_blocks
from fp8_qat.numerics.formats import round_
from fp8_qat.numerics.quantize import (
    check_high_precision,
    dynamic_scale,
    given_scale,
    held,
    scaled,
)
from fp8_qat.numerics.scales import Scale
from fp8_qat.numerics.spec import Spec


def fake_quantize(
    x: Float[Tensor, "*lead k"], spec: Spec, *, scale: Scale | None = None
) -> Float[Tensor, "*lead k"]:
    """Give the values that quantization to FP8 would leave, in the dtype of `x`.

    The result equals `dequantize(quantize(x, spec, scale=scale), x.dtype)` bit for bit.
    Gradient: the identity for a dynamic spec, whose scale covers every value; for a given
    `scale` it is zero where a value was saturated. Errors are those of `quantize`.
    """
    check_high_precision(x)
    multiplier, back = (None, None) if scale is None else scale
    result: Tensor = _FakeQuantize.apply(x, spec, multiplier, back)  # type: ignore[no-untyped-call]
    return result


def unsaturated(x: Float[Tensor, "*lead k"], spec: Spec, scale: Scale) -> Bool[Tensor, "*lead k"]:
    """Tell which values a given scale leaves within the range of the format."""
    blocks = to_blocks(x, spec.granularity)
    inside = torch.empty(blocks.shape, dtype=torch.bool, device=x.device)
    for part, rows in in_parts(blocks, AT_ONCE):
        inside[part] = scaled(blocks[part], _of(scale, rows)).abs_() <= spec.fp8.max
    return from_blocks(inside, x.shape)


def _of(scale: Scale, rows: slice) -> Scale:
    """The scales of some rows of blocks."""
    multiplier = None if scale.multiplier is None else scale.multiplier[rows]
    return Scale(multiplier, scale.scale[rows])


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, spec: Spec, multiplier: Tensor | None, back: Tensor | None
    ) -> Tensor:
        blocks = to_blocks(x, spec.granularity)
        scale = (
            dynamic_scale(blocks, spec)
            if back is None
            else given_scale(Scale(multiplier, back), blocks)
        )
        ctx.masked = back is not None
        if ctx.masked:
            ctx.save_for_backward(unsaturated(x, spec, scale))
        result = torch.empty_like(blocks)
        for part, rows in in_parts(blocks, AT_ONCE):
            own = _of(scale, rows)
            rounded = round_(scaled(blocks[part], own), spec.fp8)
            result[part] = held(rounded.mul_(over_blocks(own.scale)), x.dtype)
        return from_blocks(result, x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.masked:
            (inside,) = ctx.saved_tensors
            grad = torch.where(inside, grad, 0.0)
        return grad, None, None, None
