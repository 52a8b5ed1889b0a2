"""Refining an alignment by iterated nearest points.

Source: P. Besl, N. McKay, "A method for registration of 3-D shapes", PAMI 14(2), 1992.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.align.similarity import DegenerateAlignment, Similarity, umeyama
from recon_eval.checks import Axes
from recon_eval.neighbors import Neighbors, check_cloud


def icp(
    source: Float[Tensor, "p 3"],
    target: Float[Tensor, "q 3"],
    *,
    max_distance: float,
    steps: int = 30,
    tolerance: float = 1e-6,
    with_scale: bool = False,
) -> Similarity:
    """Return the motion that brings `source` onto `target`, starting where it is.

    Point to point: each step pairs every source point with its nearest target closer than
    `max_distance` and fits the pairs. Ends when neither the share of paired points nor their root
    mean square distance (over `max_distance`) changes by more than `tolerance`. A local method:
    align coarsely first (`Similarity.then` joins the two). The result's `support` is the share of
    paired points.
    """
    if not 0 < max_distance < math.inf or steps < 1:  # the end is told by distances over it
        raise ValueError(
            f"max_distance={max_distance}, steps={steps}; they must be above 0, finite, and at "
            "least 1: give a length in the unit of the points, and 20 steps"
        )
    for name, points in (("source", source), ("target", target)):
        Axes().check(points, name, "p 3")
    start, goal = (points.detach().double().cpu() for points in (source, target))
    for name, cloud in (("source", start), ("target", goal)):
        check_cloud(cloud.numpy(), name)
    tree = Neighbors(goal.numpy())
    fit: Similarity | None = None
    before = (-1.0, -1.0)
    for _ in range(steps):
        moved = start if fit is None else fit.apply(start)
        distance, index = tree.nearest(moved.numpy(), limit=max_distance)
        paired = torch.from_numpy(distance < max_distance)
        if int(paired.sum()) < 3:
            raise DegenerateAlignment(
                f"source: {int(paired.sum())} points lie within {max_distance} of the target, and "
                "3 are needed; align coarsely first or raise max_distance"
            )
        fit = umeyama(start[paired], goal[torch.from_numpy(index)[paired]], with_scale=with_scale)
        error = float((torch.from_numpy(distance)[paired] ** 2).mean().sqrt()) / max_distance
        now = (float(paired.double().mean()), error)
        if max(abs(a - b) for a, b in zip(now, before, strict=True)) <= tolerance:
            break
        before = now
    assert fit is not None
    return replace(fit, method="icp", support=now[0])
