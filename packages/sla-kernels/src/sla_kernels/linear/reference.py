"""The definition of the linear branch: an explicit attention matrix, quadratic in memory."""

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from sla_kernels.linear.features import FEATURE_MAPS


def linear_attention_reference(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    mask: Bool[Tensor, "b h n m"] | None,
    feature_map: str,
    eps: float,
) -> Float[Tensor, "b h n d"]:
    """Return A v / (eps + A 1) with A = phi(q) phi(k)^T where mask; zero where nothing is left."""
    phi = FEATURE_MAPS[feature_map].map
    group = q.shape[1] // k.shape[1]
    k, v = (repeat(x, "b g m d -> b (g r) m d", r=group) for x in (k, v))
    weights = phi(q) @ phi(k).mT
    if mask is not None:
        weights = weights * mask
    total = eps + weights.sum(-1, keepdim=True)
    return weights @ v / torch.where(total == 0, torch.inf, total)
