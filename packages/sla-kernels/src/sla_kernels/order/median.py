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
    return torch.stack([_of_scene(scene, steps) for scene in features])


def _of_scene(features: Float[Tensor, "n a"], steps: tuple[Cut, ...]) -> Int64[Tensor, " n"]:
    order = torch.arange(len(features), device=features.device)
    for cut in steps:
        moved = _sorted(features, cut)
        order = order.index_select(0, moved)
        features = features.index_select(0, moved)
    return order


def _sorted(features: Float[Tensor, "n a"], cut: Cut) -> Int64[Tensor, " n"]:
    """Sort each segment along its own axis: which place comes to stand where."""
    rows = features if cut.inside is None else features.index_select(0, cut.places.flatten())
    rows = rearrange(rows, "(s w) a -> s w a", s=len(cut.places))
    widest = rearrange(_variance(rows, cut).argmax(1), "s -> s 1 1")
    values = rows.gather(2, widest.expand(-1, rows.shape[1], 1))[..., 0]
    if cut.inside is not None:
        values = values.masked_fill(~cut.inside, math.inf)
    moved = (stable_argsort(values) + cut.places[:, :1]).flatten()
    return moved if cut.kept is None else moved.index_select(0, cut.kept)


def _variance(rows: Float[Tensor, "s w a"], cut: Cut) -> Float[Tensor, "s a"]:
    """Variances about the first row of each segment, which padding repeats and so adds nothing."""
    apart = rows - rows[:, :1]
    count = rows.shape[1] if cut.inside is None else cut.inside.sum(1, keepdim=True)
    return apart.square().sum(1) / count - (apart.sum(1) / count).square()
