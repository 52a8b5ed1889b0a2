"""Absolute and relative trajectory errors after one similarity.

Source: J. Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.align import MIN_SPREAD, Similarity, align_cameras, camera_centers
from recon_eval.pose.angles import rotation_angle_degrees
from recon_eval.pose.cameras import check_rigs


@dataclass(frozen=True, kw_only=True)
class TrajectoryResult:
    """Trajectory errors in units of the true cameras and degrees, and the fit they rest on."""

    ate_rmse: float
    ate_mean: float
    ate_median: float
    rpe_translation_rmse: float
    rpe_rotation_rmse_degrees: float
    orientation_mean_degrees: float
    similarity: Similarity
    views: int
    delta: int

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        return f"pose/trajectory/sim3-{self.similarity.method}/delta{self.delta}"

    def numbers(self) -> dict[str, float]:
        """Return every metric by name."""
        names = ("ate_rmse", "ate_mean", "ate_median", "rpe_translation_rmse")
        more = ("rpe_rotation_rmse_degrees", "orientation_mean_degrees")
        return {name: getattr(self, name) for name in (*names, *more)}

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        return {**self.similarity.provenance(), "views": self.views, "delta": self.delta}


def evaluate_trajectory(
    predicted_world_to_camera: Float[Tensor, "v _ 4"],
    target_world_to_camera: Float[Tensor, "v _ 4"],
    *,
    delta: int = 1,
    min_spread: float = MIN_SPREAD,
) -> TrajectoryResult:
    """Align the predicted cameras by one Sim(3), then measure ATE and RPE over `delta` frames.

    Where the centers lie on a line the rotation comes from the orientations, and
    `similarity.method` says so (`align.align_cameras`). RPE compares camera-to-world motions
    C_i^-1 C_{i+delta}, over all i.
    """
    predicted, target = check_rigs(predicted_world_to_camera, target_world_to_camera, at_least=2)
    if not 1 <= delta < len(target):
        last = len(target) - 1
        raise ValueError(
            f"delta={delta}; with {last + 1} views it must be in 1..{last}: 1 compares neighbors"
        )
    similarity = align_cameras(predicted, target, min_spread=min_spread)
    moved, target = similarity.apply_to_cameras(predicted), target.double()
    gaps = (camera_centers(moved) - camera_centers(target)).norm(dim=-1)
    step, true_step = _motion(moved, delta), _motion(target, delta)
    # |C_true^-1 C_pred| has the translation R_true^T (t_pred - t_true), of the same length
    slip = (step[:, :, 3] - true_step[:, :, 3]).norm(dim=-1)
    turn = rotation_angle_degrees(true_step[:, :, :3], step[:, :, :3])
    return TrajectoryResult(
        ate_rmse=_rms(gaps),
        ate_mean=float(gaps.mean()),
        ate_median=float(gaps.quantile(0.5)),
        rpe_translation_rmse=_rms(slip),
        rpe_rotation_rmse_degrees=_rms(turn),
        orientation_mean_degrees=float(
            rotation_angle_degrees(target[:, :, :3], moved[:, :, :3]).mean()
        ),
        similarity=similarity,
        views=len(target),
        delta=delta,
    )


def _motion(cameras: Tensor, delta: int) -> Tensor:
    """C_i^-1 C_{i+delta} = E_i E_{i+delta}^-1, as (v - delta, 3, 4)."""
    first, second = cameras[:-delta], cameras[delta:]
    centers = camera_centers(cameras)  # a far origin cancels before the rotation, not after
    translation = first[:, :, :3] @ (centers[delta:] - centers[:-delta])[..., None]
    return torch.cat([first[:, :, :3] @ second[:, :, :3].mT, translation], dim=-1)


def _rms(values: Tensor) -> float:
    return float((values**2).mean().sqrt())
