"""Aligning two rigs of cameras, also where their centers alone do not fix a rotation."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recon_eval.align.similarity import (
    MIN_SPREAD,
    DegenerateAlignment,
    Similarity,
    camera_centers,
    check_extent,
    spread,
    umeyama,
)
from recon_eval.checks import rig_of


def align_cameras(
    predicted: Float[Tensor, "v _ 4"],
    target: Float[Tensor, "v _ 4"],
    *,
    min_spread: float = MIN_SPREAD,
) -> Similarity:
    """Return the similarity between two rigs of world-to-camera matrices.

    Umeyama on the camera centers. Where these lie on a line or there are two, the rotation comes
    from the orientations (their chordal mean) and scale and translation from the centers; `method`
    then says "orientations". Raises DegenerateAlignment where either rig stands in one place.
    """
    predicted, target = rig_of(predicted, "predicted"), rig_of(target, "target")
    predicted = predicted.to(target.device)
    source, goal = camera_centers(predicted), camera_centers(target)
    if len(source) != len(goal):
        raise ValueError(
            f"predicted, target={len(source)}, {len(goal)} views; both must have the same "
            "views: leave out those that lack a partner"
        )
    check_extent(source, predicted.dtype, "predicted cameras")
    check_extent(goal, target.dtype, "target cameras")
    try:
        return umeyama(source, goal, min_spread=min_spread)
    except DegenerateAlignment:
        return _align_by_orientation(predicted, target, source, goal)


def _align_by_orientation(
    predicted: Tensor, target: Tensor, source: Tensor, goal: Tensor
) -> Similarity:
    mean_x, mean_y = source.mean(0), goal.mean(0)
    x, y = source - mean_x, goal - mean_y
    # sum of R_target^T R_predicted: each is the rotation of the world seen by one camera
    total = einsum(target[:, :, :3].double(), predicted[:, :, :3].double(), "v i j, v i k -> j k")
    u, _, vt = torch.linalg.svd(total)
    sign = u.new_tensor([1.0, 1.0, float(torch.sign(torch.det(u @ vt)))])
    rotation = u @ torch.diag(sign) @ vt
    scale = float((y * (x @ rotation.T)).sum() / (x * x).sum())
    if not scale > 0:
        raise DegenerateAlignment(
            f"cameras: the fitted scale is {scale:.3g}: after turning by the orientations the "
            "centers run the opposite way, so no similarity aligns this rig"
        )
    return Similarity(
        scale=scale,
        rotation=rotation,
        translation=mean_y - scale * rotation @ mean_x,
        spread=spread(y, y.new_full((len(y),), 1 / len(y))),
        method="orientations",
    )
