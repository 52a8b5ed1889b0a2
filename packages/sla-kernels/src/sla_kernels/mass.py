"""How much of dense attention the exact keys of sparse attentions hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from sla_kernels.module import SparseLinearAttention
from sla_kernels.runtime.autocast import in_own_type

QUERIES = 64  # of a sequence, at which the mass is looked at

Mass = dict[str, float]


@contextmanager
def observed_mass(model: nn.Module) -> Iterator[dict[str, Mass]]:
    """Collect, by attention inside a model, what part of dense attention its choice holds.

    with observed_mass(model) as found:
        model(images)

    - `kept`: the softmax mass of the exact keys, over 64 queries; `best`: that of the best as many
      keys for each query alone, which no choice exceeds.
    """
    found: dict[str, Mass] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(core: Any, given: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            call = signature(core.forward).bind(*given, **named).arguments
            found[name] = _mass(call["q"], call["k"], core.selection(**call), core.scale)

        return hook

    handles = [
        core.register_forward_pre_hook(look(name), with_kwargs=True)
        for name, core in model.named_modules()
        if isinstance(core, SparseLinearAttention)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _mass(q: Tensor, k: Tensor, selection: Any, scale: float) -> Mass:
    last, count = q.shape[2] - 1, min(QUERIES, q.shape[2])
    picked = torch.linspace(0, last, count, dtype=torch.float64, device="cpu").long().to(q.device)
    k = repeat(k, "b g m d -> b (g r) m d", r=q.shape[1] // k.shape[1])
    with in_own_type(k):
        scores = scale * q[:, :, picked].float() @ rearrange(k.float(), "b h m d -> b h d m")
    weights = scores.softmax(dim=-1)
    mask = selection.keys_of(picked)
    best = weights.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    most = best.gather(-1, mask.sum(-1, keepdim=True).clamp(min=1) - 1)
    return {"kept": float((weights * mask).sum(-1).mean()), "best": float(most.mean())}
