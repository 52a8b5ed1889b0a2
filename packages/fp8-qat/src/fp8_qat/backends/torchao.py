"""torchao's `Float8Tensor` as what multiplies: our codes and scales, their product.

Both operands are quantized here, in float32 arithmetic with a scale of 1 for zero rows;
torchao's own quantization computes scales in the dtype of the tensor and gives NaN there.
"""

import importlib
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.backends.codes import CodesLinear
from fp8_qat.numerics.quantize import QuantizedTensor
from fp8_qat.numerics.spec import Recipe

_TENSORS = "torchao.quantization.quantize_.workflows.float8.float8_tensor"


class TorchaoLinear(CodesLinear):
    """Wraps codes and scales as `Float8Tensor` and calls `torch.nn.functional.linear`."""

    backend: ClassVar[str] = "torchao"
    agrees_db: ClassVar[float] = 45.0
    operand: Any  # a Float8Tensor over `weight` and `weight_scale`

    @classmethod
    def problems(cls, layer: nn.Linear, recipe: Recipe, device: torch.device) -> list[str]:
        found = []
        try:
            importlib.import_module(_TENSORS)
        except ImportError as error:
            found.append(
                f"torchao={error.name or error}; it must be 0.18 or newer and importable: pip "
                "install 'fp8-qat[torchao]'"
            )
        kinds = {recipe.weight.granularity}
        if recipe.activation is not None:
            kinds.add(recipe.activation.granularity)
        if not kinds <= {"tensor", "row"}:
            found.append(
                f"recipe={recipe.name!r}; it must scale tensors or rows, as this product does, and "
                "scales blocks: use backend 'reference', or prepare with recipes.rowwise()"
            )
        return found

    def derive(self) -> None:
        self.operand = self._wrap(self.quantized_weight(), self.like.dtype)

    def product(self, x: Float[Tensor, "m k"], dtype: torch.dtype) -> Float[Tensor, "m n"]:
        bias = None if self.bias is None else self.bias.to(dtype)
        if self.input_quantizer is None:
            return F.linear(x, self.operand, bias)
        return F.linear(self._wrap(self.input_quantizer.quantize(x), dtype), self.operand, bias)

    def _wrap(self, quantized: QuantizedTensor, dtype: torch.dtype) -> Any:
        module = importlib.import_module(_TENSORS)
        rows, columns = quantized.codes.shape
        whole = self.recipe.weight.granularity == "tensor"
        if self.recipe.activation is not None:
            whole = whole and self.recipe.activation.granularity == "tensor"
        scale = quantized.scale if whole else quantized.scale.expand(rows, 1).contiguous()
        return module.Float8Tensor(
            quantized.codes,
            scale,
            block_size=[rows if whole else 1, columns],
            mm_config=module.Float8MMConfig(use_fast_accum=False),
            dtype=dtype,
        )
