"""The noise that each prepared layer adds to its own output, on real inputs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fp8_qat.layers.inputs import layer_input
from fp8_qat.layers.linear import PREPARED, ReleasedLinear
from fp8_qat.on_data.runs import Run, call, read_by_linear, run_all


def layer_sqnr(
    model: nn.Module, batches: Iterable[Any], *, run: Run = call
) -> dict[str, float | None]:
    """Compare every prepared layer's output with the unquantized layer on the same inputs.

    Inputs are those of the quantized model, in evaluation mode, over all batches. Returns
    20 log10(|signal| / |noise|) in dB by name, infinite without noise; None for a layer whose
    original weight was released. Raises ValueError for a model without prepared layers and for a
    layer that no batch reached.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, PREPARED)}
    if not layers:
        raise ValueError(
            "prepared layers=0; the model must hold some: call prepare(model, recipe) first"
        )
    measured = [n for n, m in layers.items() if not isinstance(m, ReleasedLinear)]
    sums: dict[str, tuple[float, float]] = {}
    hooks = [
        layers[name].register_forward_hook(_adder(name, sums), with_kwargs=True)
        for name in measured
    ]
    try:
        run_all(model, batches, run)
    finally:
        for hook in hooks:
            hook.remove()
    unreached = [name for name in measured if name not in sums]
    if unreached:
        raise ValueError(
            f"layers without data={unreached}; a batch must reach every one: give batches that use "
            "them"
        )
    return {name: _decibel(*sums[name]) if name in sums else None for name in layers}


def _adder(name: str, sums: dict[str, tuple[float, float]]) -> Any:
    def hook(
        layer: nn.Linear, given: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
    ) -> None:
        x = layer_input(layer, read_by_linear(given, named))
        plain = F.linear(x, layer.weight, layer.bias).double()
        signal, noise = sums.get(name, (0.0, 0.0))
        noise += float((plain - output.double()).square().sum())
        sums[name] = signal + float(plain.square().sum()), noise

    return hook


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * torch.log10(torch.tensor(signal / noise, dtype=torch.float64, device="cpu")))
