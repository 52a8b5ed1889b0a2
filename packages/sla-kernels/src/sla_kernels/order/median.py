"""A k-d tree by medians: halve each segment along the axis on which it varies most."""

import math

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.plan import Cut, cuts


def median_order(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions of the tokens such that runs of each of `sizes` are alike; ties keep their order.

    Nothing is read back to the host.
    """
    order = repeat(
        torch.arange(features.shape[1], device=features.device), "n -> b n", b=len(features)
    )
    for cut in cuts(features.shape[1], sizes, features.device):
        moved = _sorted(features, cut)
        order = order.gather(1, moved)
        features = features.gather(1, repeat(moved, "b n -> b n a", a=features.shape[2]))
    return order


def _sorted(features: Float[Tensor, "b n a"], cut: Cut) -> Int64[Tensor, "b n"]:
    """Sort each segment along its own axis: which place comes to stand where."""
    segments, width = cut.places.shape
    parts = features if cut.inside is None else features[:, cut.places.flatten()]
    parts = rearrange(parts, "b (s w) a -> b s w a", s=segments)
    axis = repeat(_variance(parts, cut).argmax(-1), "b s -> b s w 1", w=width)
    values = parts.gather(3, axis)[..., 0]
    if cut.inside is not None:
        values = values.masked_fill(~cut.inside, math.inf)
    moved = values.argsort(dim=-1, stable=True) + cut.places[:, :1]
    moved = rearrange(moved, "b s w -> b (s w)")
    return moved if cut.kept is None else moved[:, cut.kept]


def _variance(parts: Float[Tensor, "b s w a"], cut: Cut) -> Float[Tensor, "b s a"]:
    if cut.inside is None:
        return parts.var(2, unbiased=False)
    weights = cut.inside.to(parts.dtype)[:, :, None]
    weights = weights / weights.sum(1, keepdim=True)
    mean = (parts * weights).sum(2, keepdim=True)
    return ((parts - mean).square() * weights).sum(2)
