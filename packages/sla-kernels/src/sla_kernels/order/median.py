"""A tree of medians: halve each segment along a direction in which its tokens differ most.

Long segments are cut along the axis on which they vary most, as a k-d tree is. Short ones, which
become blocks and cells, are cut along a direction of their own: the axis of most variance, turned
towards their first principal component by steps of the power method.
"""

import math

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.order.plan import Cut, cuts
from sla_kernels.runtime.sorting import stable_argsort

OWN = 512  # tokens of the longest segment from which on each has a direction of its own
TURNS = 2  # towards its first principal component


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
    widest = (apart.square().sum(1) / count - mean.square()).argmax(1)
    own = rows.shape[1] <= OWN
    places = rearrange(widest, "s -> s 1 1").expand(-1, rows.shape[1], 1)
    found = (apart if own else rows).gather(2, places)
    for _ in range(TURNS if own else 0):
        middle = found.sum(1) / count
        turned = apart.mT @ (found - rearrange(middle, "s 1 -> s 1 1"))
        most = turned.abs().amax(1, keepdim=True).clamp_min(1e-30)
        found = reduce(apart * turned.mT, "s w a -> s w 1", "sum") / most
    return found[..., 0]
