"""Accuracy, completeness and F-score of a cloud against a reference in the same frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.align.similarity import Similarity, alignment_facts
from recon_eval.checks import Axes
from recon_eval.neighbors import Neighbors, check_cloud


@dataclass(frozen=True, kw_only=True)
class PointsResult:
    """Distances in the units of the clouds, and shares of points within thresholds.

    Accuracy is measured from each predicted point to the nearest true one, completeness the other
    way, `overall` is the mean of the two means. `normal_accuracy` and `normal_completeness` are the
    means of |n . n'| over the same pairs of points, NaN without normals.
    """

    accuracy_mean: float
    accuracy_median: float
    completeness_mean: float
    completeness_median: float
    precision: dict[float, float]
    recall: dict[float, float]
    normal_accuracy: float
    normal_completeness: float
    predicted_points: int
    target_points: int
    alignment: Similarity | None

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        return f"points/{self.alignment.method if self.alignment else 'as-given'}"

    @property
    def overall(self) -> float:
        """The mean of accuracy and completeness."""
        return (self.accuracy_mean + self.completeness_mean) / 2

    @property
    def normal_consistency(self) -> float:
        """The mean of its two directions."""
        return (self.normal_accuracy + self.normal_completeness) / 2

    @property
    def f_score(self) -> dict[float, float]:
        """The harmonic mean of precision and recall at each threshold; 0 where both are 0."""
        pairs = ((t, self.precision[t], self.recall[t]) for t in self.precision)
        return {t: 2 * p * r / (p + r) if p + r else 0.0 for t, p, r in pairs}

    def numbers(self) -> dict[str, float]:
        """Return every metric by a flat name, as `f_score@0.05`."""
        names = ("accuracy_mean", "accuracy_median", "completeness_mean", "completeness_median")
        flat = {name: float(getattr(self, name)) for name in (*names, "overall")}
        for name in ("normal_accuracy", "normal_completeness", "normal_consistency"):
            flat[name] = float(getattr(self, name))
        for name in ("precision", "recall", "f_score"):
            flat |= {f"{name}@{t:g}": value for t, value in getattr(self, name).items()}
        return flat

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        return {
            **alignment_facts(self.alignment),
            "predicted_points": self.predicted_points,
            "target_points": self.target_points,
        }


def evaluate(
    predicted: Float[Tensor, "p 3"],
    target: Float[Tensor, "q 3"],
    *,
    thresholds: Sequence[float] = (),
    predicted_normals: Float[Tensor, "p 3"] | None = None,
    target_normals: Float[Tensor, "q 3"] | None = None,
    alignment: Similarity | None = None,
    workers: int = -1,
) -> PointsResult:
    """Compare two clouds in the frame and unit of `target`.

    `alignment` takes the prediction there (`recon_eval.align`); without it both are as given.
    A point counts as within a threshold when its distance is below it, so a higher threshold never
    lowers a score. Normals need no orientation. Raises ValueError for an empty or non-finite cloud.
    """
    if any(not threshold > 0 for threshold in thresholds):
        raise ValueError(
            f"thresholds={tuple(thresholds)}; each must be above 0: give lengths in the unit "
            "of the clouds"
        )
    if (predicted_normals is None) != (target_normals is None):
        raise ValueError(
            "predicted_normals without target_normals, or these alone; both are compared: "
            "give both or neither"
        )
    _check(predicted, "predicted", predicted_normals)
    _check(target, "target", target_normals)
    if alignment is not None:
        predicted = alignment.apply(predicted)
        if predicted_normals is not None:
            predicted_normals = predicted_normals.double() @ alignment.rotation.T
    x, y = (points.detach().double().cpu().numpy() for points in (predicted, target))
    check_cloud(x, "predicted")
    check_cloud(y, "target")
    to_target, target_index = Neighbors(y, workers=workers).nearest(x)
    to_predicted, predicted_index = Neighbors(x, workers=workers).nearest(y)
    normals = (np.nan, np.nan)
    if predicted_normals is not None and target_normals is not None:
        normals = (
            _agreement(predicted_normals, target_normals, target_index),
            _agreement(target_normals, predicted_normals, predicted_index),
        )
    return PointsResult(
        accuracy_mean=float(to_target.mean()),
        accuracy_median=float(np.median(to_target)),
        completeness_mean=float(to_predicted.mean()),
        completeness_median=float(np.median(to_predicted)),
        precision={float(t): float((to_target < t).mean()) for t in thresholds},
        recall={float(t): float((to_predicted < t).mean()) for t in thresholds},
        normal_accuracy=normals[0],
        normal_completeness=normals[1],
        predicted_points=len(x),
        target_points=len(y),
        alignment=alignment,
    )


def _check(points: Tensor, name: str, normals: Tensor | None) -> None:
    axes = Axes()
    axes.check(points, name, "p 3")
    if normals is not None:
        axes.check(normals, f"{name}_normals", "p 3")


def _agreement(normals: Tensor, others: Tensor, index: np.ndarray) -> float:
    """Mean of |n . n'| between each normal and that of its nearest neighbor."""
    a = torch.nn.functional.normalize(normals.detach().double().cpu(), dim=-1)
    b = torch.nn.functional.normalize(others.detach().double().cpu(), dim=-1)
    return float((a * b[torch.from_numpy(index)]).sum(-1).abs().mean())
