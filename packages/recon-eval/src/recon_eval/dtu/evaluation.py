"""DTU's point-cloud protocol: accuracy, completeness and their mean, in millimeters.

Source: R. Jensen et al., "Large scale multi-view stereopsis evaluation", CVPR 2014, and H. Aanaes
et al., "Large-scale data for multiple-view stereopsis", IJCV 2016, with the authors' MATLAB code.

1. Thin the prediction to 0.2 mm (the reference is thinned already).
2. Accuracy: distance from each predicted point in an observed voxel to the reference.
   Completeness: distance from each reference point above the table to the prediction.
3. Distances of 20 mm and more are dropped; the means of the rest are reported.

Variant "matlab" is that code. It looks for neighbors in blocks of 60 mm grown by 60 mm, which
changes no distance below 60 mm, so the search here has no blocks; reference points outside the
blocks are dropped. Variant "dtueval_python" is the port that published tables use: predictions
outside the box grown by 60 mm below and 120 mm above are removed first, reference points outside it
are kept, and voxels are rounded half to even.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon_eval.align.similarity import Similarity, alignment_facts
from recon_eval.checks import Axes
from recon_eval.dtu.observation import Observation
from recon_eval.dtu.thinning import thin
from recon_eval.dtu.truth import Truth, find_truth
from recon_eval.formats.ply import read_ply
from recon_eval.neighbors import Neighbors, check_cloud

Variant = Literal["dtueval_python", "matlab"]
BLOCK_MM = 60.0


@dataclass(frozen=True, kw_only=True)
class DtuResult:
    """Metrics of one scan in millimeters, and how many points they rest on.

    `accuracy_points` and `completeness_points` are the points averaged over; `accuracy_far` and
    `completeness_far` those dropped for a distance of `max_distance_mm` and more.
    """

    accuracy_mm: float
    completeness_mm: float
    accuracy_median_mm: float
    completeness_median_mm: float
    given_points: int
    thinned_points: int
    accuracy_points: int
    accuracy_far: int
    completeness_points: int
    completeness_far: int
    radius_mm: float
    max_distance_mm: float
    seed: int
    variant: Variant
    alignment: Similarity | None

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        name = f"dtu/{self.variant}/{self.radius_mm:g}-{self.max_distance_mm:g}mm"
        return name if self.alignment is None else f"{name}/{self.alignment.method}"

    @property
    def overall_mm(self) -> float:
        """The mean of accuracy and completeness."""
        return (self.accuracy_mm + self.completeness_mm) / 2

    def numbers(self) -> dict[str, float]:
        """Return every metric by name."""
        names = ("accuracy_mm", "completeness_mm", "overall_mm")
        more = ("accuracy_median_mm", "completeness_median_mm")
        return {name: float(getattr(self, name)) for name in (*names, *more)}

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        names = ("given_points", "thinned_points", "accuracy_points", "accuracy_far")
        more = ("completeness_points", "completeness_far", "seed", "variant")
        facts = {name: getattr(self, name) for name in (*names, *more)}
        return alignment_facts(self.alignment) | facts


def evaluate_scan(
    cloud: str | Path | Float[Tensor, "p 3"],
    root: str | Path,
    scan: int,
    *,
    seed: int = 0,
    variant: Variant = "dtueval_python",
    alignment: Similarity | None = None,
) -> DtuResult:
    """Evaluate a cloud (or a PLY file of one) of a scan whose reference lies under `root`."""
    points = cloud if isinstance(cloud, Tensor) else torch.from_numpy(read_ply(cloud).points)
    truth = find_truth(root, scan)
    return evaluate_cloud(points, truth, seed=seed, variant=variant, alignment=alignment)


def evaluate_cloud(
    predicted: Float[Tensor, "p 3"],
    truth: Truth,
    *,
    radius_mm: float = 0.2,
    max_distance_mm: float = 20.0,
    seed: int = 0,
    variant: Variant = "dtueval_python",
    alignment: Similarity | None = None,
    workers: int = -1,
) -> DtuResult:
    """Compare a cloud with the reference of a scan, in millimeters and DTU's world frame.

    `alignment` takes the cloud there, and its protocol is another one; without it the cloud is as
    the benchmark wants it. The thinning is random; `seed` fixes it. Raises ValueError for an empty
    or non-finite cloud and where no point of it, or of the reference, takes part.
    """
    _check(variant, max_distance_mm)
    Axes().check(predicted, "predicted", "p 3")
    placed = predicted if alignment is None else alignment.apply(predicted)
    given = placed.detach().cpu().double().numpy()
    check_cloud(given, "predicted")
    check_cloud(truth.points, f"reference of scan {truth.scan}")
    points = given[thin(given, radius=radius_mm, seed=seed, workers=workers)]
    searched, compared, reference = _take_part(points, truth, variant)
    forward, _ = Neighbors(truth.points, workers=workers).nearest(
        searched[compared], limit=max_distance_mm
    )
    backward, _ = Neighbors(searched, workers=workers).nearest(reference, limit=max_distance_mm)
    return _summarize(
        forward,
        backward,
        given_points=len(given),
        thinned_points=len(points),
        radius_mm=radius_mm,
        max_distance_mm=max_distance_mm,
        seed=seed,
        variant=variant,
        alignment=alignment,
    )


def _check(variant: str, max_distance_mm: float) -> None:
    if variant not in get_args(Variant):
        known = ", ".join(get_args(Variant))
        raise ValueError(f"variant={variant!r}; it must be known: pass one of {known}")
    if not 0 < max_distance_mm <= BLOCK_MM:
        raise ValueError(
            f"max_distance_mm={max_distance_mm}; it must be in (0, {BLOCK_MM:g}]: 20 is DTU's"
        )


def _summarize(forward: np.ndarray, backward: np.ndarray, **facts: Any) -> DtuResult:
    """Means and medians of the distances that are finite, that is, not too far."""
    near, reached = forward[np.isfinite(forward)], backward[np.isfinite(backward)]
    return DtuResult(
        accuracy_mm=_of(np.mean, near),
        completeness_mm=_of(np.mean, reached),
        accuracy_median_mm=_of(np.median, near),
        completeness_median_mm=_of(np.median, reached),
        accuracy_points=len(near),
        accuracy_far=len(forward) - len(near),
        completeness_points=len(reached),
        completeness_far=len(backward) - len(reached),
        **facts,
    )


def _take_part(
    points: np.ndarray, truth: Truth, variant: Variant
) -> tuple[np.ndarray, Bool[np.ndarray, " p"], np.ndarray]:
    """Predicted points to search, which of them count for accuracy, and the reference points."""
    seen, reference = truth.observation, truth.points
    reference = reference[seen.above_plane(reference)]
    if variant == "dtueval_python":
        inside = (points >= seen.low - BLOCK_MM) & (points < seen.high + 2 * BLOCK_MM)
        points = points[inside.all(axis=1)]
        compared = seen.observed(points, halves="even")
    else:
        reference = reference[_in_blocks(reference, seen)]
        compared = seen.observed(points) & _in_blocks(points, seen)
    if not compared.any() or not len(reference):
        raise ValueError(
            f"scan {truth.scan}: {int(compared.sum())} predicted points lie in the "
            f"observed volume and {len(reference)} reference points above the plane; both "
            "must be at least 1: give the cloud in millimeters and in DTU's world frame"
        )
    return points, compared, reference


def _in_blocks(points: np.ndarray, seen: Observation) -> Bool[np.ndarray, " p"]:
    """Which points lie in the blocks of 60 mm that cover the box; the others keep 60 mm."""
    blocks = np.floor((seen.high - seen.low) / BLOCK_MM) + 1
    high = seen.low + BLOCK_MM * blocks
    return np.asarray(((points >= seen.low) & (points < high)).all(axis=1))


def _of(statistic: Callable[[np.ndarray], Any], distances: np.ndarray) -> float:
    return float(statistic(distances)) if len(distances) else float("nan")
