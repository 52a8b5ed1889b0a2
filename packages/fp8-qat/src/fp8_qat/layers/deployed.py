"""A linear layer that holds FP8 codes and scales, whatever multiplies them."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.layers.linear import quantized_input
from fp8_qat.layers.quantizers import Quantizer, keep_dtype
from fp8_qat.numerics.quantize import QuantizedTensor, dequantize
from fp8_qat.numerics.spec import Recipe


class Fp8Linear(nn.Linear):
    """A deployed linear layer, multiplying back before the product: the reference.

    Its forward equals that of the prepared layer in evaluation mode bit for bit.

    Buffers: `weight` (n, k) of an FP8 dtype and `weight_scale` (block rows, block columns),
    which multiplies back. Casting the model casts neither.
    """

    backend: ClassVar[str] = "reference"
    recipe: Recipe
    where: str
    input_quantizer: Quantizer | None
    weight_scale: Tensor
    like: Tensor  # holds no values: its dtype and device are those of the product
    weight_sqnr_db: float

    @classmethod
    def problems(cls, layer: nn.Linear, recipe: Recipe, device: torch.device) -> list[str]:
        """Say why this backend cannot run a layer of this shape on a device; empty if it can."""
        return []

    @classmethod
    def note(cls, layer: nn.Linear, recipe: Recipe) -> str:
        """Say what a reader of the report should know about this layer; often nothing."""
        return ""

    def derive(self) -> None:
        """Make anew what a backend derives from codes and scales, after any change of them."""

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        x = quantized_input(self, input)
        return F.linear(x, dequantize(self.quantized_weight(), self.like.dtype), self.bias)

    @property
    def weight_dtype(self) -> torch.dtype:
        """The dtype of the weight that the layer multiplies with."""
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        """Where the layer computes."""
        return self.like.device

    def quantized_weight(self) -> QuantizedTensor:
        """Give the codes and scales of the weight."""
        spec = self.recipe.weight.once()
        return QuantizedTensor(codes=self.weight, scale=self.weight_scale, spec=spec)

    def set_quantized(self, quantized: QuantizedTensor) -> None:
        """Replace the codes and scales."""
        self.register_buffer("weight", quantized.codes)
        self.register_buffer("weight_scale", quantized.scale)
        self.derive()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Fp8Linear":
        before = {name: b for name, b in self._buffers.items() if name != "like"}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        keep_dtype(self, before)
        self.derive()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.derive()


def deploy(
    layer: Any, kind: type[Fp8Linear], quantized: QuantizedTensor, dtype: torch.dtype
) -> Fp8Linear:
    """Turn a layer with a recipe and an input quantizer into a deployed one, in place."""
    if "weight" in layer._parameters:
        del layer.weight
    for buffer in ("weight_bytes", "weight_scale"):
        layer._buffers.pop(buffer, None)
        layer._non_persistent_buffers_set.discard(buffer)
    layer._modules.pop("weight_quantizer", None)
    layer.__dict__.pop("enabled", None)
    layer.__class__ = kind
    device = quantized.codes.device
    layer.register_buffer("like", torch.empty(0, dtype=dtype, device=device), persistent=False)
    layer.set_quantized(quantized)
    deployed: Fp8Linear = layer
    return deployed
