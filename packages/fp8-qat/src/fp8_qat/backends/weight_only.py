"""FP8 weights, high-precision activations: for hardware that does not multiply FP8."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.inputs import layer_input
from fp8_qat.numerics.spec import Recipe


class WeightOnlyLinear(Fp8Linear):
    """Multiplies the weight back and leaves the input as it is.

    What was trained with quantized activations is not what runs here; `convert` notes it.
    """

    backend: ClassVar[str] = "weight_only"

    @classmethod
    def note(cls, layer: nn.Linear, recipe: Recipe) -> str:
        if recipe.activation is None:
            return ""
        return "activations were quantized in training and are not here"

    def forward(self, input: Float[Tensor, "*lead k"]) -> Float[Tensor, "*lead n"]:
        x = layer_input(self, input)
        return F.linear(x, self.dequantized_weight(), self.bias)
