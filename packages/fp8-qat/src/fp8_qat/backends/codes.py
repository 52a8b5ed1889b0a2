"""Layers that multiply FP8 codes, and their straight-through gradient."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.inputs import product_dtype
from fp8_qat.numerics.fake import unsaturated
from fp8_qat.numerics.quantize import dequantize


class CodesLinear(Fp8Linear):
    """The base of backends whose product has no gradient of its own.

    Gradients are those of the reference: the multiplied-back weight, zero where a delayed
    or static scale saturated the input. So what lies before a deployed layer can be trained.
    """

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        dtype = product_dtype(self, input)
        x = self.read(input, dtype).reshape(-1, self.in_features)
        if torch.is_grad_enabled() and any(one.requires_grad for one in (x, *self.learned())):
            if problem := self.gradient_problem():
                raise ValueError(f"{self.where}: {problem}")
            y: Tensor = _StraightThrough.apply(x, self.bias, self)  # type: ignore[no-untyped-call]
        else:
            y = self.product(x, dtype)
        return y.reshape(*input.shape[:-1], self.out_features)

    def read(self, input: Float[Tensor, "*lead k"], dtype: torch.dtype) -> Float[Tensor, "*lead k"]:
        """Bring an input to the dtype in which it is quantized: that of the product."""
        return input.to(dtype)

    def product(self, x: Float[Tensor, "m k"], dtype: torch.dtype) -> Float[Tensor, "m n"]:
        """Quantize what was read, multiply it with the weight and add the bias, in `dtype`."""
        raise NotImplementedError

    def learned(self) -> Iterator[Tensor]:
        """Give the parameters that the output depends on."""
        yield from self.parameters(recurse=False)

    def gradient_problem(self) -> str | None:
        """Say why no gradient can pass; None if it can."""
        return None


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: Any) -> Tensor:
        ctx.layer, ctx.bias_dtype = layer, None if bias is None else bias.dtype
        quantizer = layer.input_quantizer
        scale = None if quantizer is None else quantizer.current_scale()
        inside = None if scale is None else unsaturated(x, quantizer.spec, scale)
        ctx.save_for_backward(inside)
        y: Tensor = layer.product(x, x.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_x = grad_bias = None
        (inside,) = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            grad_x = grad @ dequantize(ctx.layer.quantized_weight(), grad.dtype)
            grad_x = grad_x if inside is None else torch.where(inside, grad_x, 0.0)
        if ctx.needs_input_grad[1]:
            grad_bias = grad.sum(0).to(ctx.bias_dtype)
        return grad_x, grad_bias, None
