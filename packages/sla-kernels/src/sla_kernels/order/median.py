"""A k-d tree by medians: halve each segment along the axis on which it varies most."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.plan import Cut, cuts
from sla_kernels.runtime.sorting import stable_argsort


def median_order(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions of the tokens such that runs of each of `sizes` are alike; ties keep their order.

    Nothing is read back to the host.
    """
    steps = cuts(features.shape[1], sizes, features.device)
    return torch.stack([_of_scene(rearrange(scene, "n a -> a n"), steps) for scene in features])


def _of_scene(features: Float[Tensor, "a n"], steps: tuple[Cut, ...]) -> Int64[Tensor, " n"]:
    order = torch.arange(features.shape[1], device=features.device)
    features = features.contiguous()
    for cut in steps:
        moved = _sorted(features, cut)
        order = order.index_select(0, moved)
        features = features.index_select(1, moved)
    return order


def _sorted(features: Float[Tensor, "a n"], cut: Cut) -> Int64[Tensor, " n"]:
    """Sort each segment along its own axis: which place comes to stand where."""
    segments = cut.places.shape[0]
    parts = features if cut.inside is None else features.index_select(1, cut.places.flatten())
    parts = rearrange(parts, "a (s w) -> a s w", s=segments)
    values = parts[_variance(parts, cut).argmax(0), torch.arange(segments, device=parts.device)]
    if cut.inside is not None:
        values = values.masked_fill(~cut.inside, math.inf)
    moved = (stable_argsort(values) + cut.places[:, :1]).flatten()
    return moved if cut.kept is None else moved.index_select(0, cut.kept)


def _variance(parts: Float[Tensor, "a s w"], cut: Cut) -> Float[Tensor, "a s"]:
    if cut.inside is None:
        return parts.var(-1, unbiased=False)
    weights = cut.inside / cut.inside.sum(1, keepdim=True)
    mean = (parts * weights).sum(-1, keepdim=True)
    return ((parts - mean).square() * weights).sum(-1)
