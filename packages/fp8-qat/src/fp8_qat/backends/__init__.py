"""What multiplies FP8 layers once they are deployed, by name."""

from collections.abc import Mapping

import torch
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
from fp8_qat.layers.linear import QuantizedLinear
from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.spec import Recipe

LAYERS: dict[str, type[Fp8Linear]] = {
    kind.backend: kind
    for kind in (
        Fp8Linear,
        ScaledMMLinear,
        WeightOnlyLinear,
        TorchaoLinear,
        TransformerEngineLinear,
    )
}


Chosen = Mapping[str, tuple[nn.Linear, Recipe]]


def layer_class(backend: str, layers: Chosen, fast: bool = False) -> type[Fp8Linear]:
    """Give the layer class of a backend that can run all layers.

    "auto" is "scaled_mm" where every layer is on a device that multiplies FP8 and follows a
    recipe which that product covers, and "reference" everywhere else.

    - `fast`: sum in a shorter accumulator, which "scaled_mm" alone offers.

    Raises ValueError for an unknown backend, which lists the known ones, for `fast` with
    another backend, and naming every layer that the backend cannot run, and why.
    """
    check_choice("backend", backend, ("auto", *LAYERS))
    if backend == "auto":
        on_cuda = all(_device(layer).type == "cuda" for layer, _ in layers.values())
        covered = on_cuda and not _problems(ScaledMMLinear, layers)
        backend = "scaled_mm" if covered else "reference"
    kind = LAYERS[backend]
    if fast and kind is not ScaledMMLinear:
        raise ValueError(
            f"fast={fast}; it must be False on backend {backend!r}, whose sums are of one kind: "
            "use backend 'scaled_mm', or leave fast out"
        )
    problems = _problems(kind, layers)
    if problems:
        raise ValueError(
            f"backend={backend!r}; it must run every layer, and cannot run these, so nothing was "
            "changed: use another, or prepare otherwise\n" + "\n".join(problems)
        )
    return FastScaledMMLinear if fast else kind


def _device(layer: nn.Linear) -> torch.device:
    return layer.device if isinstance(layer, QuantizedLinear) else layer.weight.device


def _problems(kind: type[Fp8Linear], layers: Chosen) -> list[str]:
    return [
        f"{name or '(the model)'}: {problem}"
        for name, (layer, recipe) in layers.items()
        for problem in kind.problems(layer, recipe, _device(layer))
    ]
