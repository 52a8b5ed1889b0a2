"""Training against what quantization after training would have given."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.linear import PREPARED
from fp8_qat.numerics.spec import Recipe
from fp8_qat.on_data.calibrate import calibrate, needs_calibration
from fp8_qat.on_data.runs import Run, call
from fp8_qat.prepare import prepare

Score = Callable[[nn.Module], float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One score of three models: unquantized, quantized after training, trained quantized."""

    recipe: str
    high_precision: float
    post_training: float
    trained: float

    def __str__(self) -> str:
        return (
            f"recipe {self.recipe}\n"
            f"  high precision                {self.high_precision:.6g}\n"
            f"  post-training quantization    {self.post_training:.6g}\n"
            f"  quantization-aware training   {self.trained:.6g}"
        )


def compare_with_ptq(
    plain: nn.Module,
    trained: nn.Module,
    score: Score,
    *,
    batches: Iterable[Any] | None = None,
    run: Run = call,
) -> Comparison:
    """Score a model trained with quantization beside the plain one quantized afterwards.

    - `plain`: a high-precision model with the same layer names, trained without quantization.
    - `trained`: a prepared or converted model; its layers and recipe are used for the baseline.
    - `score`: any figure of a model, computed under the same conditions for all three.
    - `batches`: calibration data, needed for static and delayed recipes.

    `plain` and `trained` stay as they are. Raises ValueError if `trained` has no quantized
    layer, if `plain` lacks one of them, or if calibration data is missing.
    """
    kinds = (*PREPARED, Fp8Linear)
    layers: dict[str, Any] = {n: m for n, m in trained.named_modules() if isinstance(m, kinds)}
    if not layers:
        raise ValueError(
            "quantized layers=0; the trained model must have some: prepare or load it first"
        )
    recipe: Recipe = next(iter(layers.values())).recipe
    baseline = copy.deepcopy(plain)
    lacking = layers.keys() - {name for name, _ in plain.named_modules()}
    if lacking:
        raise ValueError(
            f"layers that plain lacks={sorted(lacking)}; it must have all of trained: give a plain "
            "model with the same layers"
        )
    prepare(baseline, recipe, include=lambda name, layer: name in layers, frozen="keep")
    if needs_calibration(recipe):
        if batches is None:
            raise ValueError(
                f"batches=None; recipe {recipe.name!r} must be calibrated: pass batches="
            )
        calibrate(baseline, batches, run=run)
    return Comparison(
        recipe=recipe.name,
        high_precision=score(plain),
        post_training=score(baseline),
        trained=score(trained),
    )
