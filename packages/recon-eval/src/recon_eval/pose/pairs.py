"""Errors of relative poses, over all pairs of views.

For world-to-camera E, the relative pose of views i and j is T = E_j E_i^-1. It does not depend on
the world frame, so neither do the errors: the angle of R_true^T R_predicted, and the angle between
the translation directions (no scale is compared).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon_eval.align import camera_centers
from recon_eval.pose.angles import direction_angle_degrees, rotation_angle_degrees
from recon_eval.pose.cameras import check_rigs

Direction = Literal["signed", "folded"]
ZERO_BASELINE = 1e-9  # of the largest distance in the rig
AT_ONCE = 1 << 20  # pairs, whose relative poses take half a gigabyte


@dataclass(frozen=True, kw_only=True)
class PairErrors:
    """Errors in degrees of each unordered pair of views; `pairs` holds i < j.

    `direction` is NaN where the true baseline is zero (`undefined`); where only the predicted one
    is, the direction was missed entirely and counts as the largest error (180, folded 90).
    """

    pairs: Int[Tensor, "p 2"]
    rotation_degrees: Float[Tensor, " p"]
    direction_degrees: Float[Tensor, " p"]
    undefined: Bool[Tensor, " p"]

    @property
    def worst_degrees(self) -> Float[Tensor, " p"]:
        """The larger error of each pair; the rotation alone where no direction exists."""
        return torch.fmax(self.rotation_degrees, self.direction_degrees)


def pair_errors(
    predicted: Float[Tensor, "v _ 4"],
    target: Float[Tensor, "v _ 4"],
    *,
    direction: Direction = "signed",
) -> PairErrors:
    """Return the errors of all pairs of world-to-camera matrices (3 4 or 4 4), in float64.

    `direction="folded"` takes min(e, 180 - e), as code made for essential matrices does: a camera
    that moved the opposite way then counts as right.
    """
    if direction not in ("signed", "folded"):
        raise ValueError(f"direction={direction!r}; it must be known: pass 'signed' or 'folded'")
    predicted, target = check_rigs(predicted, target, at_least=2)
    pairs = torch.combinations(torch.arange(len(target), device=target.device))
    parts = [_compared(predicted, target, part) for part in pairs.split(AT_ONCE)]
    rotation, angle, length, true_length = (torch.cat(part) for part in zip(*parts, strict=True))
    zero, undefined = _is_zero(length, predicted), _is_zero(true_length, target)
    angle = torch.minimum(angle, 180 - angle) if direction == "folded" else angle
    worst = 90.0 if direction == "folded" else 180.0
    angle = torch.where(zero, torch.full_like(angle, worst), angle)
    return PairErrors(
        pairs=pairs,
        rotation_degrees=rotation,
        direction_degrees=torch.where(undefined, torch.full_like(angle, torch.nan), angle),
        undefined=undefined,
    )


def _compared(predicted: Tensor, target: Tensor, pairs: Tensor) -> tuple[Tensor, ...]:
    """Angles between rotations and between directions, and lengths of both translations."""
    rotation, baseline = _relative(predicted, pairs)
    true_rotation, true_baseline = _relative(target, pairs)
    return (
        rotation_angle_degrees(true_rotation, rotation),
        direction_angle_degrees(baseline, true_baseline),
        baseline.norm(dim=-1),
        true_baseline.norm(dim=-1),
    )


def _relative(cameras: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and translation of E_j E_i^-1."""
    r = cameras[:, :, :3].double()
    centers = camera_centers(cameras)
    i, j = pairs.T
    rotation = r[j] @ r[i].mT
    # t_j - R t_i, written with the centers: a far origin cancels before the rotation, not after
    baseline = (r[j] @ (centers[i] - centers[j])[..., None])[..., 0]
    return rotation, baseline


def _is_zero(length: Tensor, cameras: Tensor) -> Tensor:
    """Where the translation between two cameras is no longer than what rounding makes of none."""
    t = cameras[:, :, 3].double()
    rounding = 16 * torch.finfo(cameras.dtype).eps * t.norm(dim=-1).max()
    return length <= torch.maximum(ZERO_BASELINE * length.max(), rounding)
