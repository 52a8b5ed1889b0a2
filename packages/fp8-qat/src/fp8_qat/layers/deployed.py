"""A linear layer that holds FP8 codes and scales, whatever multiplies them."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.layers.linear import QuantizedLinear
from fp8_qat.layers.quantizers import keep_dtype
from fp8_qat.numerics.quantize import QuantizedTensor
from fp8_qat.numerics.spec import Recipe


class Fp8Linear(QuantizedLinear):
    """A deployed linear layer, multiplying back before the product: the reference.

    Its forward equals that of the prepared layer in evaluation mode bit for bit.

    - `weight`: a buffer (n, k) of an FP8 dtype; casting the model does not cast it.
    - `weight_scale`: a float32 buffer (block rows, block columns), which multiplies back.
    """

    backend: ClassVar[str] = "reference"
    agrees_db: ClassVar[float] = math.inf  # with the layer as trained, at least, by `sqnr`
    weight_scale: Tensor
    like: Tensor

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
        return F.linear(self.quantized_input(input), self.dequantized_weight(), self.bias)

    @property
    def weight_dtype(self) -> torch.dtype:
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def quantized_weight(self) -> QuantizedTensor:
        spec = self.recipe.weight.once()
        return QuantizedTensor(codes=self.weight, scale=self.weight_scale, spec=spec)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Fp8Linear":
        before = {name: b for name, b in self.named_buffers(recurse=False) if name != "like"}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        keep_dtype(self, before)
        self.derive()
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        given, wanted = state_dict.get(prefix + "weight"), self.recipe.weight.fp8.dtype
        if isinstance(given, Tensor) and given.dtype != wanted:  # PyTorch would cast it to codes
            args[-1].append(
                f"weight of {self.where}: dtype={given.dtype}; it must be {wanted}, the codes of a "
                "deployed layer: load such weights into the prepared model, then convert it"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.derive()
