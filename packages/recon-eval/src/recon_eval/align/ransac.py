"""Aligning rigs of which some cameras are wrong.

The procedure of Depth Anything 3's benchmark: fit half of the cameras ten times, keep the fit with
the most inliers, and refit on those. The threshold is the median distance from an estimated centre,
after a first fit of all, to the nearest true centre.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .similarity import MIN_SPREAD, DegenerateAlignment, Similarity, camera_centres, umeyama


def align_cameras_ransac(
    predicted: Float[Tensor, "v 3 4"],
    target: Float[Tensor, "v 3 4"],
    *,
    trials: int = 10,
    seed: int = 42,
    min_spread: float = MIN_SPREAD,
) -> Similarity:
    """Return the similarity that most camera centres agree on; the same for the same seed.

    Draws that are degenerate are skipped; raises DegenerateAlignment where every draw was, or the
    rig itself is.
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}: it must be at least 1")
    source, goal = camera_centres(predicted), camera_centres(target)
    first = umeyama(source, goal, min_spread=min_spread).apply(source)
    threshold = float(torch.cdist(first, goal).amin(1).quantile(0.5))
    rng = np.random.default_rng(seed)
    size = max(3, (len(source) + 1) // 2)
    best: Tensor | None = None
    for _ in range(trials):
        draw = torch.from_numpy(rng.choice(len(source), size=size, replace=False))
        try:
            fit = umeyama(source[draw], goal[draw], min_spread=min_spread)
        except DegenerateAlignment:
            continue
        inliers = (fit.apply(source) - goal).norm(dim=-1) <= threshold
        if best is None or int(inliers.sum()) > int(best.sum()):
            best = inliers
    if best is None or int(best.sum()) < 3:
        raise DegenerateAlignment(
            f"cameras: no draw of {size} out of {len(source)} gave a fit that 3 cameras agree on"
        )
    found = umeyama(source[best], goal[best], min_spread=min_spread)
    return Similarity(
        scale=found.scale,
        rotation=found.rotation,
        translation=found.translation,
        spread=found.spread,
        method=f"ransac ({int(best.sum())} of {len(source)} cameras)",
    )
