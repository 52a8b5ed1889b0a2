"""Chamfer distance in the variants that carry this one name in the literature.

With a = distances from predicted to true points, c = from true to predicted:
mean_of_means: (mean a + mean c) / 2, in units of length; the "overall" of DTU, ETH3D and DA3.
sum_of_means: mean a + mean c.
sum_of_squares: mean a^2 + mean c^2 (Fan et al., CVPR 2017), in squared units.
half_sum_of_squares: half of that (Lite3R).
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import Axes
from recon_eval.neighbors import Neighbors, check_cloud

Variant = Literal["mean_of_means", "sum_of_means", "sum_of_squares", "half_sum_of_squares"]

CHAMFER: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mean_of_means": lambda a, c: float(a.mean() + c.mean()) / 2,
    "sum_of_means": lambda a, c: float(a.mean() + c.mean()),
    "sum_of_squares": lambda a, c: float((a**2).mean() + (c**2).mean()),
    "half_sum_of_squares": lambda a, c: float((a**2).mean() + (c**2).mean()) / 2,
}


def chamfer(
    predicted: Float[Tensor, "p 3"], target: Float[Tensor, "q 3"], *, variant: Variant
) -> float:
    """Return the Chamfer distance of two clouds; there is no default variant on purpose."""
    if variant not in CHAMFER:
        raise ValueError(
            f"variant={variant!r}; it must be known: pass one of {', '.join(get_args(Variant))}"
        )
    a, c = two_way_distances(predicted, target)
    return CHAMFER[variant](a, c)


def two_way_distances(
    predicted: Float[Tensor, "p 3"], target: Float[Tensor, "q 3"], *, workers: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from each predicted point to the target, and the other way."""
    for name, points in (("predicted", predicted), ("target", target)):
        Axes().check(points, name, "p 3")
    x, y = (points.detach().double().cpu().numpy() for points in (predicted, target))
    check_cloud(x, "predicted")
    check_cloud(y, "target")
    forward, _ = Neighbors(y, workers=workers).nearest(x)
    backward, _ = Neighbors(x, workers=workers).nearest(y)
    return forward, backward
