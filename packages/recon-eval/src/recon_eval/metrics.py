"""Every metric of this package, once: its name in reports, its words, its unit, what is better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["low", "high"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number of a report means; `name` is its key, up to the threshold after it.

    - `label`: what a table calls it.
    - `unit`: of the number; empty for shares and ratios, "unit" for that of the data set.
    - `better`: which values are better; None where neither is.
    """

    name: str
    label: str
    unit: str = ""
    better: Better | None = "low"
    explanation: str


def _metric(
    name: str, label: str, explanation: str, *, unit: str = "", better: Better | None = "low"
) -> Metric:
    return Metric(name=name, label=label, unit=unit, better=better, explanation=explanation)


DEPTH = (
    _metric("abs_rel", "AbsRel", "mean |depth - truth| / truth"),
    _metric("sq_rel", "SqRel", "mean (depth - truth)^2 / truth", unit="unit"),
    _metric("mae", "MAE", "mean |depth - truth|", unit="unit"),
    _metric("rmse", "RMSE", "root mean square of depth - truth", unit="unit"),
    _metric("log_rmse", "log RMSE", "root mean square of ln depth - ln truth"),
    _metric("log10", "log10", "mean |log10 depth - log10 truth|"),
    _metric("silog", "SILog", "100 times the deviation of ln depth - ln truth"),
    _metric("delta1", "δ1", "share of pixels within a factor 1.25 of the truth", better="high"),
    _metric("delta2", "δ2", "share of pixels within a factor 1.25^2 of the truth", better="high"),
    _metric("delta3", "δ3", "share of pixels within a factor 1.25^3 of the truth", better="high"),
    _metric("inlier_103", "inliers", "share of pixels within 3 % of the truth", better="high"),
)
POSE = (
    _metric(
        "rotation_degrees",
        "rotation",
        "error of the relative rotation, median over all pairs of views",
        unit="°",
    ),
    _metric("rotation_mean_degrees", "mean rotation", "the same, mean over pairs", unit="°"),
    _metric(
        "direction_degrees",
        "direction",
        "angle between true and predicted baseline, median over all pairs of views",
        unit="°",
    ),
    _metric("direction_mean_degrees", "mean direction", "the same, mean over pairs", unit="°"),
    _metric("rra", "RRA", "share of pairs whose rotation error is below", better="high"),
    _metric("rta", "RTA", "share of pairs whose direction error is below", better="high"),
    _metric(
        "auc",
        "AUC",
        "share of pairs with both errors below an angle, mean over angles in steps of 1 degree",
        better="high",
    ),
    _metric("auc_exact", "exact AUC", "the same mean, over all angles", better="high"),
)
TRAJECTORY = (
    _metric("ate_rmse", "ATE", "root mean square distance of camera centers", unit="unit"),
    _metric("ate_mean", "mean ATE", "mean distance of camera centers", unit="unit"),
    _metric("ate_median", "median ATE", "median distance of camera centers", unit="unit"),
    _metric("rpe_translation_rmse", "RPE", "root mean square error of motions", unit="unit"),
    _metric("rpe_rotation_rmse_degrees", "RPE turn", "root mean square error of turns", unit="°"),
    _metric(
        "orientation_mean_degrees", "orientation", "mean angle between aligned cameras", unit="°"
    ),
)
POINTS = (
    _metric("accuracy_mean", "accuracy", "mean distance of a point to the truth", unit="unit"),
    _metric("accuracy_median", "median accuracy", "median of the same", unit="unit"),
    _metric("completeness_mean", "completeness", "mean distance of the truth", unit="unit"),
    _metric("completeness_median", "median completeness", "median of the same", unit="unit"),
    _metric("overall", "overall", "mean of accuracy and completeness", unit="unit"),
    _metric("normal_accuracy", "normal accuracy", "mean |n . n'| of points", better="high"),
    _metric(
        "normal_completeness", "normal completeness", "mean |n . n'| of the truth", better="high"
    ),
    _metric("normal_consistency", "normals", "mean of the two before", better="high"),
    _metric("precision", "precision", "share of points closer to the truth than", better="high"),
    _metric("recall", "recall", "share of the truth closer to a point than", better="high"),
    _metric("f_score", "F", "harmonic mean of precision and recall", better="high"),
)
DTU = (
    _metric("accuracy_mm", "accuracy", "mean distance of a point to the scan", unit="mm"),
    _metric("completeness_mm", "completeness", "mean distance of the scan to a point", unit="mm"),
    _metric("overall_mm", "overall", "mean of accuracy and completeness", unit="mm"),
    _metric("accuracy_median_mm", "median accuracy", "median of the first", unit="mm"),
    _metric("completeness_median_mm", "median completeness", "median of the second", unit="mm"),
)
EFFICIENCY = (
    _metric("latency_ms", "latency", "median time of a call", unit="ms"),
    _metric("latency_ms_q25", "latency, first quartile", "of the same repetitions", unit="ms"),
    _metric("latency_ms_q75", "latency, third quartile", "of the same repetitions", unit="ms"),
    _metric("peak_memory_mib", "memory", "peak above what was held before", unit="MiB"),
    _metric("held_memory_mib", "held", "memory held before the call", unit="MiB"),
    _metric("gflops", "operations", "floating-point operations of a call", unit="GFLOP"),
    _metric("views_per_second", "views", "views a second", unit="1/s", better="high"),
)
METRICS = (*DEPTH, *POSE, *TRAJECTORY, *POINTS, *DTU, *EFFICIENCY)
_BY_NAME = {metric.name: metric for metric in METRICS}


def metric_of(key: str) -> Metric:
    """Return the metric of a number in a report; thresholds after its name are left out.

    Raises ValueError for a key of no metric.

    >>> metric_of("auc30").label, metric_of("f_score@0.05").better
    ('AUC', 'high')
    """
    found = _BY_NAME.get(key) or _BY_NAME.get(key.partition("@")[0].rstrip("0123456789"))
    if found is None:
        raise ValueError(f"key={key!r}; it must be a metric: {', '.join(_BY_NAME)}")
    return found


def change_in_words(key: str, before: float, after: float) -> str:
    """Say how a number of a report changed: an error in percent, a share in points of 100.

    What is shown as 0.0 is "the same".

    Raises ValueError for a key of no metric.

    >>> change_in_words("abs_rel", 0.2, 0.21), change_in_words("auc30", 0.5, 0.49)
    ('5.0% larger', '1.0 lower')
    """
    share = metric_of(key).better == "high"
    change = 100 * (after - before if share else after / before - 1)
    if (size := f"{abs(change):.1f}") == "0.0":
        return "the same"
    more, less = ("higher", "lower") if share else ("larger", "smaller")
    return f"{size}{'' if share else '%'} {more if change > 0 else less}"
