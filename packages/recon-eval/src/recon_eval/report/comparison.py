"""Two models on the same scenes: differences, paired by scene."""

import math
from dataclasses import dataclass

import numpy as np

from recon_eval.report.markdown import interval, number, table
from recon_eval.report.report import Report
from recon_eval.report.statistics import Summary, summarize


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences `second - first` of every metric both reports have.

    `differences` holds, for each metric, the mean difference over the scenes that both evaluated
    and its bootstrap interval; `first_means` and `second_means` are means over those same scenes.
    """

    first: str
    second: str
    differences: tuple[Summary, ...]
    first_means: tuple[float, ...]
    second_means: tuple[float, ...]

    def markdown(self) -> str:
        """Return the comparison as a table."""
        rows = [
            (d.protocol, d.metric, *map(number, (a, b, d.mean)), interval(d.low, d.high), d.scenes)
            for d, a, b in zip(self.differences, self.first_means, self.second_means, strict=True)
        ]
        header = ("protocol", "metric", self.first, self.second, "difference")
        level = f"{100 * self.differences[0].level:g} % interval"
        return table((*header, level, "scenes"), rows) + "\n"

    def to_dict(self) -> list[dict[str, object]]:
        """Return JSON values, one dictionary a metric; NaN becomes null."""
        return [
            {
                "protocol": d.protocol,
                "metric": d.metric,
                "first": _json(a),
                "second": _json(b),
                "difference": _json(d.mean),
                "low": _json(d.low),
                "high": _json(d.high),
                "level": d.level,
                "scenes": d.scenes,
            }
            for d, a, b in zip(self.differences, self.first_means, self.second_means, strict=True)
        ]


def compare(
    first: Report, second: Report, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Compare two models paired by scene, which removes the spread between scenes.

    Both reports must be of one data set with one seed and hold the same scenes under every protocol
    they share, computed from the same frames: a difference over other scenes is not of the models.
    """
    for name in ("dataset", "seed"):
        if getattr(first, name) != getattr(second, name):
            raise ValueError(
                f"{name}: the reports have {getattr(first, name)!r} and "
                f"{getattr(second, name)!r}; only reports on the same scenes can be "
                "compared: measure both on the same"
            )
    shared = [pair for pair in first.metrics() if pair in set(second.metrics())]
    if not shared:
        raise ValueError(
            "reports that share no protocol and metric; only what both hold is compared: "
            "measure both alike"
        )
    rows = [_paired(first, second, *pair) for pair in shared]
    return Comparison(
        first=first.model,
        second=second.model,
        differences=tuple(
            summarize(*pair, list(b - a), level=level, resamples=resamples, seed=seed)
            for pair, (a, b) in zip(shared, rows, strict=True)
        ),
        first_means=tuple(_mean(a, b) for a, b in rows),
        second_means=tuple(_mean(b, a) for a, b in rows),
    )


def _paired(
    first: Report, second: Report, protocol: str, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    a, b = first.values(protocol, metric), second.values(protocol, metric)
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise ValueError(
            f"{protocol} {metric}: scenes {odd[:5]} are in one report only; both must have the "
            "same: measure both on the same scenes"
        )
    for scene in a:
        one, other = (report.entries[protocol, scene].frames for report in (first, second))
        if one != other:
            raise ValueError(
                f"scene {scene!r}: frames are {one} in one report and {other} in the "
                "other; they must be the same: measure both on the same"
            )
    return np.array(list(a.values())), np.array(list(b.values()))


def _mean(values: np.ndarray, partner: np.ndarray) -> float:
    kept = values[np.isfinite(values) & np.isfinite(partner)]
    return math.fsum(kept) / len(kept) if len(kept) else math.nan


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
