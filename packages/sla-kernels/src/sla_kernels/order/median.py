"""A tree of medians: halve each segment along a direction in which its tokens differ most.

The longest segments are cut along the axis on which they vary most, as a k-d tree is. All others
are cut along a direction of their own: the axis of most variance, turned towards their first
principal component by steps of the power method.
"""

import math

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.captured import held_for_graphs
from sla_kernels.order.plan import Cut, cuts
from sla_kernels.order.sorting import stable_argsort

OWN = 2048  # tokens of the longest segment from which on each has a direction of its own
TURNS = 2  # towards its first principal component


def median_order(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions of the tokens such that runs of each of `sizes` are alike; ties keep their order.

    Nothing is read back to the host.
    """
    steps = held_for_graphs(cuts(features.shape[1], sizes, features.device), features.device)
    return torch.stack([_of_scene(scene, steps) for scene in features])


def _of_scene(features: Float[Tensor, "n a"], steps: tuple[Cut, ...]) -> Int64[Tensor, " n"]:
    order = torch.arange(len(features), device=features.device)
    for cut in steps:
        moved = _sorted(features, cut)
        order = order.index_select(0, moved)
        features = features.index_select(0, moved)
    return order


def _sorted(features: Float[Tensor, "n a"], cut: Cut) -> Int64[Tensor, " n"]:
    """Sort each segment along its own direction: which place comes to stand where."""
    rows = features if cut.inside is None else features.index_select(0, cut.places.flatten())
    rows = rearrange(rows, "(s w) a -> s w a", s=len(cut.places))
    values = _along(rows, cut)
    if cut.inside is not None:
        values = values.masked_fill(~cut.inside, math.nan)  # last, behind other NaN
    moved = (stable_argsort(values) + cut.places[:, :1]).flatten()
    return moved if cut.kept is None else moved.index_select(0, cut.kept)


def _along(rows: Float[Tensor, "s w a"], cut: Cut) -> Float[Tensor, "s w"]:
    """How far tokens stand along the direction in which their segment is cut.

    They are taken about the first token of each segment, which padding repeats and so adds nothing.
    Equal tokens get equal values: products are summed in the same order for every token.
    """
    apart = rows - rows[:, :1]
    count: int | Tensor = rows.shape[1]
    if cut.inside is not None:
        count = cut.inside.sum(1, keepdim=True)
    total = apart.sum(1)
    if rows.shape[1] <= OWN:
        return reduce(apart * _direction(apart, total, count), "s w a -> s w", "sum")
    mean = total / count
    widest = (apart.square().sum(1) / count - mean.square()).argmax(1)
    places = rearrange(widest, "s -> s 1 1").expand(-1, rows.shape[1], 1)
    return rows.gather(2, places)[..., 0]


def _direction(
    apart: Float[Tensor, "s w a"], total: Float[Tensor, "s a"], count: int | Int64[Tensor, "s 1"]
) -> Float[Tensor, "s 1 a"]:
    """The axis of most variance, turned; `total` is the sum of so many tokens."""
    mean = rearrange(total / count, "s a -> s 1 a")
    spread = apart.mT @ apart - rearrange(total, "s a -> s a 1") * mean
    widest = spread.diagonal(dim1=1, dim2=2).argmax(1)
    places = rearrange(widest, "s -> s 1 1").expand(-1, 1, spread.shape[2])
    found = spread.gather(1, places)  # the first turn
    for _ in range(TURNS - 1):
        found = reduce(_one_at_most(found).mT * spread, "s a c -> s 1 c", "sum")
    return _one_at_most(found)


def _one_at_most(x: Float[Tensor, "s 1 a"]) -> Float[Tensor, "s 1 a"]:
    return x / x.abs().amax(2, keepdim=True).clamp_min(1e-30)
