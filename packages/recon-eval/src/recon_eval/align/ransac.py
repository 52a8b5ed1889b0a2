"""Similarities between points, or cameras, of which some are wrong: seeded random sampling.

Source: M. Fischler, R. Bolles, "Random sample consensus", CACM 24(6), 1981. For cameras the
settings are those of Depth Anything 3's benchmark: half of the cameras are drawn, ten times, and
the threshold is the median distance from an estimated center, after a first fit of all, to the
nearest true one.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.align.similarity import (
    MIN_SPREAD,
    DegenerateAlignment,
    Similarity,
    camera_centers,
    check_extent,
    resolution,
    umeyama,
)
from recon_eval.checks import Axes, rig_of


def ransac(
    source: Float[Tensor, "p 3"],
    target: Float[Tensor, "p 3"],
    *,
    threshold: float,
    draw: int = 3,
    trials: int = 100,
    seed: int = 0,
    min_spread: float = MIN_SPREAD,
) -> Similarity:
    """Return the least-squares similarity of the pairs that the best of `trials` draws agrees with.

    A pair agrees when it is at most `threshold` apart; its share is the result's `support`.
    Degenerate draws are skipped. Raises DegenerateAlignment where no draw has three pairs that
    agree.
    """
    axes = Axes()
    axes.check(source, "source", "p 3")
    axes.check(target, "target", "p 3")
    if trials < 1 or not 3 <= draw <= len(source) or not threshold >= 0:
        raise ValueError(
            f"trials={trials}, draw={draw}, threshold={threshold}; they must be at least "
            f"1, in 3..{len(source)} (the points), and at least 0: leave trials and draw "
            "out for the usual ones"
        )
    x, y = source.double(), target.double()
    rng = np.random.default_rng(seed)
    best = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for _ in range(trials):
        index = torch.from_numpy(rng.choice(len(x), size=draw, replace=False)).to(x.device)
        try:
            fit = umeyama(x[index], y[index], min_spread=min_spread)
        except DegenerateAlignment:
            continue
        agrees = (fit.apply(x) - y).norm(dim=-1) <= threshold
        if int(agrees.sum()) > int(best.sum()):
            best = agrees
    if int(best.sum()) < 3:
        raise DegenerateAlignment(
            f"points: none of {trials} draws of {draw} gave a fit that 3 of {len(x)} agree with; "
            "raise the threshold or the trials"
        )
    found = umeyama(x[best], y[best], min_spread=min_spread)
    return replace(found, method="ransac", support=float(best.double().mean()), seed=seed)


def align_cameras_ransac(
    predicted: Float[Tensor, "v _ 4"],
    target: Float[Tensor, "v _ 4"],
    *,
    trials: int = 10,
    seed: int = 42,
    min_spread: float = MIN_SPREAD,
) -> Similarity:
    """Return the similarity that most camera centers agree on; the same for the same seed."""
    predicted, target = rig_of(predicted, "predicted"), rig_of(target, "target")
    source, goal = camera_centers(predicted).to(target.device), camera_centers(target)
    check_extent(source, predicted.dtype, "predicted cameras")
    check_extent(goal, target.dtype, "target cameras")
    first = umeyama(source, goal, min_spread=min_spread).apply(source)
    nearest = (first[:, None] - goal[None]).norm(dim=-1).amin(1)
    return ransac(
        source,
        goal,
        threshold=max(float(nearest.quantile(0.5)), 16 * resolution(goal, predicted.dtype)),
        draw=max(3, (len(source) + 1) // 2),
        trials=trials,
        seed=seed,
        min_spread=min_spread,
    )
