"""Means over scenes against those of another network on the same scenes, with intervals."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from recon_eval.report.statistics import draws

RESAMPLES, LEVEL, SEED = 2000, 0.95, 0

Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Interval:
    """A value and its paired bootstrap interval over scenes (95 %); one scene has none."""

    value: float
    low: float | None
    high: float | None

    def text(self, digits: int, unit: str = "") -> str:
        """For people."""
        form = f".{digits}f" if unit == "x" else f"+.{digits}f"
        found = f"{self.value:{form}}{unit}"
        if self.low is None or self.high is None:
            return found
        return f"{found} [{self.low:{form}}, {self.high:{form}}]"

    def without(self, value: float) -> bool:
        """Whether the interval leaves a value out, as one scene's never does."""
        if self.low is None or self.high is None:
            return False
        return self.low > value or self.high < value  # false of NaN, as where all is 0

    def to_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return asdict(self)


def ratio(first: Figures, second: Figures, name: str) -> Interval | None:
    """The mean of a figure over that of the second network, on the scenes that both have."""
    return _paired(first, second, name, lambda a, b: a / b)


def difference(
    first: Figures, second: Figures, name: str, scale: float | int = 1.0
) -> Interval | None:
    """The mean of a figure less that of the second network, on the scenes that both have."""
    return _paired(first, second, name, lambda a, b: scale * (a - b))


def mean(figures: Figures, name: str) -> float | None:
    """The mean of a figure over the scenes that have it."""
    found = [one[name] for one in figures.values() if one.get(name) is not None]
    return float(np.mean(found)) if found else None


def _paired(
    first: Figures, second: Figures, name: str, compare: Callable[[Any, Any], Any]
) -> Interval | None:
    scenes = sorted(first.keys() & second.keys())
    pairs = [(first[s].get(name), second[s].get(name)) for s in scenes]
    whole = np.array([p for p in pairs if None not in p], dtype=float).reshape(-1, 2)
    if not len(whole):
        return None
    value = float(compare(*whole.mean(axis=0)))
    if len(whole) == 1:  # it says nothing about the spread over scenes
        return Interval(value, None, None)
    drawn = draws(len(whole), RESAMPLES, SEED)
    spread = compare(whole[drawn, 0].mean(axis=1), whole[drawn, 1].mean(axis=1))
    return Interval(value, *_ends(spread))


def _ends(spread: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
