"""A tree of medians: halve each segment along a direction in which its tokens differ most.

Each segment is cut along a direction of its own: the axis on which it varies most, as in a k-d
tree, turned towards the line between the means of its two halves. A turn is a step of the power
method with bounded weights: tokens far out count no more than others, so what is found is not the
line of most variance but that which best parts the segment in two (two means, balanced).
"""

import math

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.captured import held_for_graphs
from sla_kernels.order.plan import Cut, cuts
from sla_kernels.order.sorting import stable_argsort

TURNS = 3  # of a segment's direction
STEEP = 2.0  # the weight of a token at the mean distance from the middle, were it not at most one
TINY = 1e-30  # squares up to it say nothing; nothing is divided by less


def median_order(features: Float[Tensor, "b n a"], sizes: tuple[int, ...]) -> Int64[Tensor, "b n"]:
    """Positions of the tokens such that runs of each of `sizes` are alike; ties keep their order.

    Nothing is read back to the host.
    """
    steps = held_for_graphs(cuts(features.shape[1], sizes, features.device), features.device)
    return torch.stack([_of_scene(scene, steps) for scene in features.contiguous()])


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
    mean = apart.sum(1) / count
    spread = (apart.square().sum(1) / count - mean.square()).nan_to_num(math.inf, math.inf)
    most, widest = spread.clamp_min(TINY).max(1, keepdim=True)
    found = torch.zeros_like(mean).scatter(1, widest, 1)
    centered = apart - rearrange(mean, "s a -> s 1 a")
    if cut.inside is not None:
        centered = centered.masked_fill(rearrange(~cut.inside, "s w -> s w 1"), 0)
    scale = most.sqrt()
    for _ in range(TURNS):
        found, scale = _turned(centered, found, scale, count)
    return _dot(apart, found)


def _turned(
    centered: Float[Tensor, "s w a"],
    direction: Float[Tensor, "s a"],
    scale: Float[Tensor, "s 1"],
    count: int | Int64[Tensor, "s 1"],
) -> tuple[Float[Tensor, "s a"], Float[Tensor, "s 1"]]:
    """A direction turned once, of length one, and how far tokens stand along it before, mean.

    Where numbers are too large or too small to tell, it stays what it was.
    """
    values = _dot(centered, direction)
    weights = (values * (STEEP / scale.clamp_min(TINY))).clamp(-1, 1)
    turned = (rearrange(weights, "s w -> s 1 w") @ centered)[:, 0]
    square = turned.square().sum(1, keepdim=True)
    told = (square > TINY) & (square < math.inf)
    return torch.where(told, turned / square.sqrt(), direction), values.abs().sum(1, True) / count


def _dot(rows: Float[Tensor, "s w a"], direction: Float[Tensor, "s a"]) -> Float[Tensor, "s w"]:
    return reduce(rows * rearrange(direction, "s a -> s 1 a"), "s w a -> s w", "sum")
