"""Similarity alignment of camera centers, with a guard where a direction is missing."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones.blocks.precision import in_float64
from recon_backbones.checks import Axes

MISSING = 1e-9  # of the largest covariance: a direction with less is none


class Similarity(NamedTuple):
    """target = scale * rotation @ source + translation; `rank` of the centers' covariance."""

    scale: Float[Tensor, ""]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]
    rank: int


def umeyama(source: Float[Tensor, "p 3"], target: Float[Tensor, "p 3"]) -> Similarity:
    """Fit the similarity that takes source points to target points in least squares, in float64.

    With collinear points (rank 1) the turn round the line is free and chosen smallest by the SVD;
    the scale still is the least-squares one. With coincident points (rank 0) scale and rotation
    are 1. Source: Umeyama, IEEE PAMI 13(4), 1991.

    Raises ValueError for sets of other shapes than one another, and for empty ones.
    """
    axes = Axes()
    axes.check(source, "source", "p 3", one_type=False)
    axes.check(target, "target", "p 3", one_type=False)
    if not len(source):
        raise ValueError("source=tensor of shape (0, 3); it must hold at least 1 point: give some")
    p, q = in_float64(source), in_float64(target)
    p_mean, q_mean = p.mean(0), q.mean(0)
    covariance = (q - q_mean).T @ (p - p_mean) / len(p)
    u, d, vt = torch.linalg.svd(covariance)
    spread = (p - p_mean).square().sum(-1).mean()
    least = min(_directions(source), _directions(target))
    rank = min(least, int((d > MISSING * d[0]).sum()))
    sign = torch.ones_like(d)
    if torch.linalg.det(u) * torch.linalg.det(vt) < 0:
        sign[2] = -1
    rotation = u @ torch.diag(sign) @ vt
    scale = (d * sign).sum() / spread if rank else torch.ones_like(spread)
    if not rank:
        rotation = torch.eye(3, dtype=p.dtype, device=p.device)
    return Similarity(scale, rotation, q_mean - scale * rotation @ p_mean, rank)


def _directions(points: Float[Tensor, "p 3"]) -> int:
    """In how many directions points are further apart than their type resolves where they are."""
    x = in_float64(points)
    rounding = torch.finfo(points.dtype).eps * x.abs().max()
    apart = torch.linalg.svdvals(x - x.mean(0)) / len(x) ** 0.5
    return int((apart > 8 * rounding).sum())


def robust_umeyama(
    source: Float[Tensor, "p 3"], target: Float[Tensor, "p 3"], *, trials: int = 10, seed: int = 42
) -> Similarity:
    """Fit as `umeyama`, from the best of several half-size samples and its inliers.

    The inlier threshold is the median distance, after a fit to all points, from a moved source
    point to its nearest target. Degenerate samples are passed over. Source: Depth Anything 3.
    """
    everything = umeyama(source, target)
    if everything.rank < 2:
        return everything
    p, q = in_float64(source), in_float64(target)
    threshold = torch.cdist(_moved(everything, p), q).amin(1).quantile(0.5)
    generator = np.random.default_rng(seed)
    best, best_score = p.new_ones(len(p), dtype=torch.bool), (-1, 0.0)
    for _ in range(trials):
        sample = generator.choice(len(p), size=max(3, (len(p) + 1) // 2), replace=False)
        fit = umeyama(p[sample], q[sample])
        if fit.rank < 2:
            continue
        distance = (_moved(fit, p) - q).norm(dim=1)
        inliers = distance <= threshold
        count = int(inliers.sum())
        score = (count, -float(distance[inliers].mean()) if count else -float("inf"))
        if score > best_score:
            best, best_score = inliers, score
    refined = umeyama(p[best], q[best]) if best.sum() >= 3 else everything
    return refined if refined.rank >= 2 else everything


def _moved(similarity: Similarity, points: Tensor) -> Tensor:
    return similarity.scale * points @ similarity.rotation.T + similarity.translation
