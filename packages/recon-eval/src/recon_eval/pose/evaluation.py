"""Pairwise pose metrics of one scene."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.pose.auc import auc_exact, auc_histogram, whole_degrees
from recon_eval.pose.pairs import Direction, PairErrors, pair_errors

THRESHOLDS = (3, 5, 10, 15, 20, 30)


@dataclass(frozen=True, kw_only=True)
class PoseResult:
    """Pose metrics of one scene over all unordered pairs of views, errors in degrees.

    `rra` and `rta` are the fractions of pairs whose rotation and translation-direction errors are
    below a threshold; `auc` (1-degree histogram, the published one) and `auc_exact` are areas under
    the recall of the larger of the two. `undefined_directions` counts pairs without a true
    baseline: they have no direction error and enter AUC by their rotation alone.
    """

    rotation_median_degrees: float
    rotation_mean_degrees: float
    direction_median_degrees: float
    direction_mean_degrees: float
    rra: dict[int, float]
    rta: dict[int, float]
    auc: dict[int, float]
    auc_exact: dict[int, float]
    pairs: int
    undefined_directions: int
    direction: Direction

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        return f"pose/pairs/{self.direction}"

    def numbers(self) -> dict[str, float]:
        """Return every metric by a flat name, as `auc30`; medians have the plain names."""
        flat = {
            name: getattr(self, f"{part}_{kind}_degrees")
            for part in ("rotation", "direction")
            for name, kind in ((f"{part}_degrees", "median"), (f"{part}_mean_degrees", "mean"))
        }
        for name in ("rra", "rta", "auc", "auc_exact"):
            flat |= {f"{name}{k}": value for k, value in getattr(self, name).items()}
        return flat

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        return {
            "alignment": "none",
            "direction": self.direction,
            "pairs": self.pairs,
            "undefined_directions": self.undefined_directions,
        }


def evaluate(
    predicted_world_to_camera: Float[Tensor, "v _ 4"],
    target_world_to_camera: Float[Tensor, "v _ 4"],
    *,
    direction: Direction = "signed",
    thresholds: Sequence[int | float] = THRESHOLDS,
) -> PoseResult:
    """Compare the cameras of one scene with the truth, without aligning them.

    Only relative poses are compared, so neither the world frame nor the scale of either side
    matters. Matrices may be 3 x 4, or 4 x 4 with 0 0 0 1 below. Raises ValueError for fewer than
    two views, other shapes, and matrices that are not rotations.
    """
    whole = whole_degrees(thresholds)
    errors = pair_errors(predicted_world_to_camera, target_world_to_camera, direction=direction)
    return summarize(errors, direction=direction, thresholds=whole)


def summarize(
    errors: PairErrors, *, direction: Direction, thresholds: Sequence[int] = THRESHOLDS
) -> PoseResult:
    """Reduce the errors of pairs to the metrics of a scene."""
    rotation, worst = errors.rotation_degrees, errors.worst_degrees
    translation = errors.direction_degrees[~errors.undefined]
    return PoseResult(
        rotation_median_degrees=_median(rotation),
        rotation_mean_degrees=float(rotation.mean()),
        direction_median_degrees=_median(translation),
        direction_mean_degrees=float(translation.mean()),
        rra={k: _recall(rotation, k) for k in thresholds},
        rta={k: _recall(translation, k) for k in thresholds},
        auc={k: auc_histogram(worst, k) for k in thresholds},
        auc_exact={k: auc_exact(worst, k) for k in thresholds},
        pairs=len(rotation),
        undefined_directions=int(errors.undefined.sum()),
        direction=direction,
    )


def _median(values: Tensor) -> float:
    """As `quantile(0.5)`, which takes no more than 16 million values."""
    if not len(values):
        return torch.nan
    ordered = values.sort().values
    return float(torch.lerp(ordered[(len(values) - 1) // 2], ordered[len(values) // 2], 0.5))


def _recall(errors: Tensor, threshold: int) -> float:
    return float((errors < threshold).double().mean())
