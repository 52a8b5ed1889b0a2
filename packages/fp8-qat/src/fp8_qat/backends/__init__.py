"""What multiplies FP8 layers once they are deployed, by name."""

from collections.abc import Mapping

from torch import nn

from fp8_qat.backends.scaled_mm import FastScaledMMLinear as FastScaledMMLinear
from fp8_qat.backends.scaled_mm import ScaledMMLinear as ScaledMMLinear
from fp8_qat.backends.te import Status as Status
from fp8_qat.backends.te import TransformerEngineLinear as TransformerEngineLinear
from fp8_qat.backends.te import te_recipe as te_recipe
from fp8_qat.backends.te import te_status as te_status
from fp8_qat.backends.torchao import TorchaoLinear as TorchaoLinear
from fp8_qat.backends.weight_only import WeightOnlyLinear as WeightOnlyLinear
from fp8_qat.deployed import Fp8Linear
from fp8_qat.spec import Recipe

LAYERS: dict[str, type[Fp8Linear]] = {
    kind.backend: kind
    for kind in (
        Fp8Linear,
        ScaledMMLinear,
        FastScaledMMLinear,
        WeightOnlyLinear,
        TorchaoLinear,
        TransformerEngineLinear,
    )
}


def layer_class(backend: str) -> type[Fp8Linear]:
    """Give the layer class of a backend; ValueError lists the known ones."""
    if backend not in LAYERS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(LAYERS)}")
    return LAYERS[backend]


def check_layers(kind: type[Fp8Linear], layers: Mapping[str, tuple[nn.Linear, Recipe]]) -> None:
    """Raise ValueError naming every layer that a backend cannot run, and why."""
    problems = [
        f"{name or '(the model)'}: {problem}"
        for name, (layer, recipe) in layers.items()
        for problem in kind.problems(layer, recipe, layer.weight.device)
    ]
    if problems:
        raise ValueError(
            f"backend {kind.backend!r} cannot run {len(problems)} layers, and nothing was "
            "changed:\n" + "\n".join(problems)
        )
