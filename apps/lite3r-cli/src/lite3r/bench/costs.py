"""What one scene costs a model on this machine: time, memory, operations, kept density."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones import Backbone
from recon_eval import efficiency
from sla_kernels import observed_selections

Cost = efficiency.EfficiencyResult
PARTS = ("attention", "blocks", "rest")


def compare_costs(
    models: Mapping[str, Any], images: Float[Tensor, "b v 3 y x"], *, device: str, **how: Any
) -> dict[str, Cost]:
    """Cost of models on images, as `recon_eval.efficiency.compare` measures it; `how` is for it."""
    calls = {name: _call(model, images.to(device)) for name, model in models.items()}
    return efficiency.compare(calls, device=device, **how)


def kept_density(backbone: Backbone, images: Float[Tensor, "b v 3 y x"]) -> float:
    """Share of query-key pairs of the sparse attentions that softmax attention sees.

    Measured on images, averaged over the attentions.
    """
    with observed_selections(backbone) as found:
        _call(backbone, images)()
    return statistics.fmean(selection.density for selection in found)


def time_parts(model: Backbone, images: Tensor, *, device: str, repeats: int) -> dict[str, float]:
    """Median milliseconds of one scene by part; together they are the whole pass.

    attention: the operator alone (softmax, or sparse and linear), without its projections.
    blocks: everything else in the transformer blocks that hold attention over tokens.
    rest: patch embedding, heads, cameras.
    """
    sites = [site.name for site in model.attention_sites() if site.scope != "camera"]
    groups: dict[str, list[nn.Module]] = {
        "attention": [model.get_submodule(f"{site}.core") for site in sites],
        "blocks": [model.get_submodule(site.rpartition(".")[0]) for site in sites],
        "all": [model],
    }
    passes = []
    for _ in range(repeats):
        spent = efficiency.time_modules(_call(model, images), groups, device=device)
        inside, blocks, whole = spent.values()
        passes.append(dict(zip(PARTS, (inside, blocks - inside, whole - blocks), strict=True)))
    return {part: statistics.median(one[part] for one in passes) for part in PARTS}


def _call(model: Any, images: Tensor) -> Callable[[], object]:
    return torch.inference_mode()(lambda: model(images))
