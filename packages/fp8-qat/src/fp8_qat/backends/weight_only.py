"""FP8 weights, high-precision activations: for hardware that does not multiply FP8."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.inputs import layer_input
from fp8_qat.numerics.quantize import dequantize
from fp8_qat.numerics.spec import Recipe


class WeightOnlyLinear(Fp8Linear):
    """Multiplies the weight back at every use and leaves the input as it is.

    The FP8 codes are the only copy of the weight. What was trained with quantized
    activations is not what runs here; `convert` notes it.
    """

    backend: ClassVar[str] = "weight_only"
    agrees_db: ClassVar[float] = 25.0  # the activations' rounding, which is not done here

    @classmethod
    def note(cls, layer: nn.Linear, recipe: Recipe) -> str:
        if recipe.activation is None:
            return ""
        return "activations were quantized in training and are not here"

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        return F.linear(layer_input(self, input), self.dequantized_weight(), self.bias)


class Bfloat16WeightOnlyLinear(WeightOnlyLinear):
    """Multiplies in bfloat16, whatever the dtype of the input, which the output has.

    So it stands in a float32 model, in a bfloat16 one, and where such a one computes a part,
    as a camera head, in float32.
    A bfloat16 keeps seven bits of mantissa, where the activations that a layer is trained
    with keep three.
    """

    @classmethod
    def note(cls, layer: nn.Linear, recipe: Recipe) -> str:
        notes = [super().note(layer, recipe), "multiplied in bfloat16"]
        return "; ".join(note for note in notes if note)

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        x = layer_input(self, input, any_dtype=True)
        weight = dequantize(self.quantized_weight(), torch.bfloat16)
        bias = None if self.bias is None else self.bias.to(torch.bfloat16)
        return F.linear(x.to(torch.bfloat16), weight, bias).to(x.dtype)
