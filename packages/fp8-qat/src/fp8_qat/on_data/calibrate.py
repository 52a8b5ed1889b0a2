"""Scales that outlive a step, from batches of real data."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fp8_qat.layers.quantizers import DelayedQuantizer, Quantizer, StaticQuantizer
from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.formats import Format, round_
from fp8_qat.numerics.spec import Recipe
from fp8_qat.on_data.runs import Run, call, run_all

METHODS = ("max", "percentile", "mse")
_KEPT_PER_BATCH = 2**16


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    method: str = "max",
    percentile: float = 99.99,
    run: Run = call,
) -> dict[str, float]:
    """Find the scale of every static quantizer of a prepared model, and start delayed ones.

    The model runs in evaluation mode; what a quantizer looks at passes it unchanged.
    Delayed quantizers, which otherwise start from a multiplier of 1, take one step with the
    largest magnitude; `method` concerns static ones.

    - `method`: "max" covers everything seen, "percentile" that share of the magnitudes, and
      "mse" makes the squared error smallest; the last two look at 65536 evenly spaced
      magnitudes of each batch.
    - `run`: how to call the model on a batch; by default dicts by keyword, tuples by position.

    Returns the largest magnitude that each quantizer now covers, by qualified name. Raises
    ValueError, before a scale is set, for an unknown method, a model without such quantizers, a
    layer that no batch reached, and one that was given NaN or infinity.
    """
    check_choice("method", method, METHODS)
    if not 0 < percentile <= 100:
        raise ValueError(
            f"percentile={percentile}; it must be in (0, 100]: give a share in per cent"
        )
    kinds = (StaticQuantizer, DelayedQuantizer)
    found = {name: m for name, m in model.named_modules() if isinstance(m, kinds)}
    if not found:
        raise ValueError(
            "static and delayed quantizers=0; the model must have some to calibrate: prepare it "
            "with recipes.static() or delayed(), or leave calibration out, as dynamic recipes can"
        )
    seen = {
        name: _Watcher("max" if isinstance(quantizer, DelayedQuantizer) else method)
        for name, quantizer in found.items()
    }
    _watch(model, found, seen, batches, run)
    _check_seen(seen)
    covered = {}
    for name, quantizer in found.items():
        amax = seen[name].choose(percentile, quantizer.spec.fp8)
        quantizer.set_amax(amax)
        covered[name] = float(amax)
    return covered


def needs_calibration(recipe: Recipe) -> bool:
    """Tell whether a recipe keeps scales that a model must find before its first use."""
    specs = (recipe.weight, recipe.activation)
    return any(spec is not None and spec.mode != "dynamic" for spec in specs)


class _Watcher:
    """Keeps the largest magnitude of the tensors that pass, and a sample where it is needed."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.largest: Tensor | None = None
        self.samples: list[Tensor] = []

    def __call__(self, x: Tensor) -> None:
        magnitudes = x.abs().flatten().float()
        top = magnitudes.max()
        self.largest = top if self.largest is None else torch.maximum(self.largest, top)
        if self.method != "max":
            step = -(-magnitudes.numel() // _KEPT_PER_BATCH)
            self.samples.append(magnitudes[::step].clone())

    def choose(self, percentile: float, format: Format) -> Tensor:
        assert self.largest is not None
        if self.method == "max":
            return self.largest
        sample = torch.cat(self.samples).sort().values
        if self.method == "percentile":
            return sample[int((sample.numel() - 1) * percentile / 100)]
        shares = torch.linspace(0.2, 1.0, 81, dtype=torch.float32, device=sample.device)
        candidates = self.largest * shares
        errors = [_squared_error(sample, amax / format.max, format) for amax in candidates]
        return candidates[int(torch.stack(errors).argmin())]


def _squared_error(sample: Tensor, scale: Tensor, format: Format) -> Tensor:
    return (round_(sample / scale, format) * scale - sample).square().sum()


def _check_seen(seen: Mapping[str, _Watcher]) -> None:
    unreached = [name for name, watcher in seen.items() if watcher.largest is None]
    if unreached:
        raise ValueError(
            f"quantizers without data={len(unreached)} ({', '.join(unreached[:5])}); a batch must "
            "reach every one: give batches that use them, or exclude their layers in prepare"
        )
    for name, watcher in seen.items():
        assert watcher.largest is not None
        if not bool(watcher.largest.isfinite()):
            raise ValueError(
                f"largest magnitude at {name}={watcher.largest}; it must be a finite number for a "
                "scale to cover it: leave such batches out, or exclude the layer in prepare"
            )


def _watch(
    model: nn.Module,
    found: Mapping[str, Quantizer],
    seen: Mapping[str, _Watcher],
    batches: Iterable[Any],
    run: Run,
) -> None:
    for name, quantizer in found.items():
        quantizer.watching = seen[name]
    try:
        run_all(model, batches, run)
    finally:
        for quantizer in found.values():
            quantizer.watching = None
