"""The depth metrics themselves, on pixels that were already aligned and masked.

For predicted depth d and true depth g, both positive: abs_rel mean |d - g| / g. sq_rel mean (d -
g)^2 / g. mae mean |d - g|. rmse. log_rmse of ln d - ln g. log10 mean |log10 d - log10 g|. silog 100
sqrt(var(ln d - ln g)) (Eigen et al., NIPS 2014, as KITTI prints it). delta_k: the fraction with
max(d/g, g/d) < 1.25^k. inlier_103: the same with 1.03 (Schröppel et al., robust multi-view depth,
3DV 2022).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import Axes


def _ratio(d: Tensor, g: Tensor) -> Tensor:
    return torch.maximum(d / g, g / d)


def _within(threshold: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda d, g: (_ratio(d, g) < threshold).double().mean()


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "abs_rel": lambda d, g: ((d - g).abs() / g).mean(),
    "sq_rel": lambda d, g: ((d - g) ** 2 / g).mean(),
    "mae": lambda d, g: (d - g).abs().mean(),
    "rmse": lambda d, g: ((d - g) ** 2).mean().sqrt(),
    "log_rmse": lambda d, g: ((d.log() - g.log()) ** 2).mean().sqrt(),
    "log10": lambda d, g: (d.log() - g.log()).abs().mean() / math.log(10),
    "silog": lambda d, g: 100 * (d.log() - g.log()).var(unbiased=False).sqrt(),
    "delta1": _within(1.25),
    "delta2": _within(1.25**2),
    "delta3": _within(1.25**3),
    "inlier_103": _within(1.03),
}


@dataclass(frozen=True, kw_only=True)
class DepthMetrics:
    """Every metric as a number; the formulas are at the head of this file."""

    abs_rel: float
    sq_rel: float
    mae: float
    rmse: float
    log_rmse: float
    log10: float
    silog: float
    delta1: float
    delta2: float
    delta3: float
    inlier_103: float


def measure(predicted: Float[Tensor, " p"], target: Float[Tensor, " p"]) -> dict[str, float]:
    """Return every metric over positive depths of one image; needs at least one pixel."""
    axes = Axes()
    axes.check(predicted, "predicted", "p")
    axes.check(target, "target", "p")
    d, g = predicted.double(), target.double()
    if not len(d):
        raise ValueError(
            "target: no valid pixel; there is nothing to measure: leave such views out"
        )
    return {name: float(metric(d, g)) for name, metric in FORMULAS.items()}
