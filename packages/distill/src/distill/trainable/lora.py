"""Low-rank updates of weights (LoRA, arXiv 2106.09685) that merge without a trace.

The update is part of the weight that the layer computes with: training runs the very numbers
that remain after merging, also where a layer rounds its weight to fewer bits.
"""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from distill.record.names import matching
from distill.record.settings import check_number


class LowRank(nn.Module):
    """Adds scale * up @ down to a weight; zero at the start, since `up` is zero.

    - `weight`: the weight, whose device and number format the factors share (float32 where the
      weight has fewer bits).
    - `rank`: columns of `up`, at least 1.
    - `scale`: factor of the update.
    """

    def __init__(self, weight: Float[Tensor, "out in"], *, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.down = nn.Parameter(torch.empty(rank, columns, dtype=dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, dtype=dtype, device=weight.device))
        nn.init.normal_(self.down, std=columns**-0.5)
        self._scale = scale

    def forward(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """Return the updated weight, as merging gives it, also under autocast."""
        with nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False):
            return (weight + self._scale * (self.up @ self.down)).to(weight.dtype)


def add_lora(
    model: nn.Module, patterns: str | Sequence[str], *, rank: int = 8, scale: float = 1.0
) -> list[str]:
    """Give the weights of matching linear layers a low-rank update, and freeze those weights.

    The update's parameters are `<layer>.parametrizations.weight.0.up` and `.down`: the pattern
    "*.parametrizations.weight.0.*" lets them train. Add it before an optimizer is made, and
    after anything that replaces layers or changes how they compute. A layer that rounds its
    weight in each forward rounds the updated weight; it is refused where it computes with a
    copy of its weight that was rounded once.

    - `model`: changed in place.
    - `patterns`: shell patterns over the names of modules; they must match linear layers.
    - `rank`: rank of the update, at least 1.
    - `scale`: factor of the update (alpha / rank in the paper).

    Returns names of the layers.

    Raises ValueError if a pattern matches no linear layer (the closest names are offered), the
    rank is below 1, or a layer has an update already or would not see it. Nothing has changed
    then.
    """
    check_number("rank", rank, whole=True)
    check_number("scale", scale)
    if rank < 1:
        raise ValueError(f"rank={rank}; it must be at least 1: give 8, for example")
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen = matching(layers, patterns, "linear layer")
    names = [name for name in layers if name in chosen]
    if twice := [name for name in names if lora_layers(layers[name])]:
        raise ValueError(
            f"layers={twice}; they have a low-rank update already: merge it first, or leave them "
            "out"
        )
    if blind := [name for name in names if not _sees_its_weight(layers[name])]:
        raise ValueError(
            f"layers={blind[:3]} ({len(blind)} in all); they compute with a copy of their weight "
            "and would not see an update of it: quantize them in each forward instead of once, "
            "or leave them out"
        )
    for name in names:
        layer = layers[name]
        layer.weight.requires_grad_(False)
        update = LowRank(layer.weight, rank=rank, scale=scale)
        parametrize.register_parametrization(layer, "weight", update)
    return names


def _sees_its_weight(layer: nn.Linear) -> bool:
    """Return whether the output depends on the weight, as a copy of the layer says."""
    if "weight" not in layer._parameters:
        return False
    probe = copy.deepcopy(layer)
    weight = probe.weight.requires_grad_(True)
    with torch.enable_grad():
        output = probe(weight.new_ones(1, layer.in_features))
        if not output.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(output.sum(), weight, allow_unused=True)
    return gradient is not None


def merge_lora(model: nn.Module) -> list[str]:
    """Make every low-rank update part of its weight for good, bit-equal in what it computes.

    Layers and state-dict names are as before `add_lora`. A weight shared with another model, as
    with a teacher, becomes one of this model's own, and the other keeps what it has.

    Returns names of the layers.

    Raises ValueError if there is no update to merge.
    """
    names = lora_layers(model)
    if not names:
        raise ValueError(
            f"model={type(model).__name__}; it has no low-rank update to merge: call `add_lora` "
            "first"
        )
    for name in names:
        _merge(model.get_submodule(name))
    return names


def _merge(layer: nn.Module) -> None:
    """Put the sum in place of weight and update; PyTorch would write it where the weight lies."""
    held: Any = layer.get_submodule("parametrizations.weight")
    held.original = nn.Parameter(held.original.detach().clone(), requires_grad=False)
    parametrize.remove_parametrizations(layer, "weight")


def lora_layers(model: nn.Module) -> list[str]:
    """Return the names of the layers with a low-rank update."""
    return [
        name
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module, "weight")
        and isinstance(module.parametrizations.weight[0], LowRank)
    ]
