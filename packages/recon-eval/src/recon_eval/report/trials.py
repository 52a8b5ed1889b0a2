"""Candidates tried on scenes, each once, and the cheapest of those that are good enough."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recon_eval.report.kept import Kept

Figures = Mapping[str, Any]


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """Let a ValueError from inside say, as a note, what was measured."""
    try:
        yield
    except ValueError as error:
        error.add_note(what)
        raise


def mean_of(figures: Iterable[Figures], name: str) -> float:
    """The mean of a figure over those that have it; NaN where none has."""
    values = [one[name] for one in figures if one.get(name) is not None]
    return sum(values) / len(values) if values else float("nan")


class Trials:
    """Figures of candidates by scene; what is kept is not measured again.

    - `measure`: gives the figures of a candidate, by key, on scenes, by name, one after another.
    """

    def __init__(
        self, kept: Kept, measure: Callable[[Any, Sequence[Any]], Iterable[Figures]]
    ) -> None:
        self._kept, self._measure = kept, measure

    def try_on(self, candidate: Any, scenes: Sequence[Any]) -> list[dict[str, Any]]:
        """Measure what is missing, keep it, and return all figures of these scenes."""
        missing = [s for s in scenes if self._kept.find(candidate.key, s.name) is None]
        if missing:
            try:
                with told_of(f"candidate {candidate.key}"):
                    measured = self._measure(candidate, missing)
                    for scene, found in zip(missing, measured, strict=True):
                        self._kept.add(candidate.key, scene.name, found)
            finally:
                if self.figures(candidate, missing):
                    self._kept.save()
        return self.figures(candidate, scenes)

    def try_all(self, candidates: Iterable[Any], scenes: Sequence[Any]) -> list[Any]:
        """Try each on the scenes, and return the candidates."""
        tried = list(candidates)
        for candidate in tried:
            self.try_on(candidate, scenes)
        return tried

    def figures(self, candidate: Any, scenes: Sequence[Any]) -> list[dict[str, Any]]:
        """What was measured on those of the scenes where something was."""
        found = (self._kept.find(candidate.key, scene.name) for scene in scenes)
        return [figures for figures in found if figures is not None]

    def cheapest(
        self,
        candidates: Iterable[Any],
        scenes: Sequence[Any],
        holds: Callable[[Sequence[Figures]], bool],
        *,
        cost: str,
        below: float = float("inf"),
    ) -> list[Any]:
        """Those of which `holds` is true and whose mean cost is below a limit, cheapest first."""
        costs = {c: mean_of(self.figures(c, scenes), cost) for c in candidates}
        near = [c for c in costs if costs[c] < below and holds(self.figures(c, scenes))]
        return sorted(near, key=costs.__getitem__)
