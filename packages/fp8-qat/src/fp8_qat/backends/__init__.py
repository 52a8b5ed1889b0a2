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
from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.numerics.spec import Recipe

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


Chosen = Mapping[str, tuple[nn.Linear, Recipe]]


def layer_class(backend: str, layers: Chosen) -> type[Fp8Linear]:
    """Give the layer class of a backend that can run all layers.

    "auto" is "scaled_mm" where every layer is on a device that multiplies FP8 and follows a
    recipe which that product covers, and "reference" everywhere else.

    Raises ValueError for an unknown backend, which lists the known ones, and naming every
    layer that the backend cannot run, and why.
    """
    if backend == "auto":
        on_cuda = all(layer.weight.is_cuda for layer, _ in layers.values())
        covered = on_cuda and not _problems(ScaledMMLinear, layers)
        return ScaledMMLinear if covered else Fp8Linear
    if backend not in LAYERS:
        raise ValueError(f"backend is {backend!r}; choose one of auto, {', '.join(LAYERS)}")
    kind = LAYERS[backend]
    problems = _problems(kind, layers)
    if problems:
        raise ValueError(
            f"backend {backend!r} cannot run every layer, and nothing was changed:\n"
            + "\n".join(problems)
        )
    return kind


def _problems(kind: type[Fp8Linear], layers: Chosen) -> list[str]:
    return [
        f"{name or '(the model)'}: {problem}"
        for name, (layer, recipe) in layers.items()
        for problem in kind.problems(layer, recipe, layer.weight.device)
    ]
