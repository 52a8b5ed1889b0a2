"""The cheapest attention whose answers stay near those of the dense network, on given photos.

Sets of views in turn: the first, third, ... are tuned on (axes are calibrated on the first), the
others are held out and decide. No truth is needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lite3r.bench.quality import compared, predict
from lite3r.shell.words import Words
from lite3r.study.candidates import Candidate, around, few, grid
from lite3r.study.judge import judge
from lite3r.study.prepare import alone, prepare
from recon_backbones import Backbone
from recon_eval import efficiency
from recon_eval.data import Scene
from recon_eval.report import Kept, Panel, Point, table

HELD = 2  # every second set of views


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """How far a student's answers may be from the dense network's.

    - `depth`: median relative change of depth; `pose`: what AUC@30 of its cameras may miss of 1.
    """

    depth: float
    pose: float

    def __post_init__(self) -> None:
        for name, value in (("allow", self.depth), ("allow_pose", self.pose)):
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value}; it must be above 0 and at most 1: 0.01 is usual")

    def holds(self, figures: Iterable[Mapping[str, Any]]) -> bool:
        """Whether the means over sets stay within."""
        depth, agreement = _means(figures)
        return depth <= self.depth and 1 - agreement <= self.pose


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was found: the choice, if any is near enough, and a row for every candidate."""

    choice: Candidate | None
    rows: Sequence[dict[str, Any]]
    layers: Sequence[dict[str, Any]]


def tune(
    teacher: Backbone, sets: Sequence[Scene], allowed: Allowed, kept: Kept, words: Words
) -> Tuned:
    """Measure what is not kept yet, and choose. Raises ValueError for fewer than two sets."""
    if len(sets) < HELD:
        raise ValueError(
            f"views={sets[0].num_views}; one set must be left to be held out: take half as many "
            "views, or more photos"
        )
    bench = _Bench(teacher, sets, kept)
    tried = list(grid())
    with words.progress("trying candidates", len(tried)) as advance:
        for candidate in tried:
            bench.measure(candidate, sets[::HELD])
            advance()
    near = bench.near(tried, allowed, sets[::HELD])
    if near:
        more = [c for c in around(near[0]) if c not in tried]
        for candidate in more:
            bench.measure(candidate, sets[::HELD])
        tried += more
    choice = None
    for candidate in bench.near(tried, allowed, sets[::HELD]):
        bench.measure(candidate, sets[1::HELD])
        if allowed.holds(bench.figures(candidate, sets[1::HELD])):
            choice = candidate
            break
    layers = alone("layer", choice or few(64), teacher)
    for candidate in layers.values():
        bench.measure(candidate, sets[:1])
    return Tuned(
        choice=choice,
        rows=[bench.row(c, sets) for c in tried],
        layers=[bench.row(c, sets) for c in layers.values()],
    )


def panels(tuned: Tuned) -> list[Panel]:
    """Change of depth, and agreement of cameras, over what a scene costs beside dense."""
    return [
        Panel(
            title=f"{key.replace('_', ' ').capitalize()} against dense",
            x="operations, of dense's",
            y=key.replace("_", " "),
            points=[Point(row["blocks"], row["cost"], row[key]) for row in tuned.rows],
        )
        for key in ("depth_change", "pose_agreement")
    ]


def markdown(tuned: Tuned) -> str:
    """Candidates by cost, and layers by how much they hurt."""
    heads = ("operations of dense's", "depth change", "pose agreement", "held out", "")
    candidates = [
        (row["blocks"], row["cells"], row["opened"], *_cells(row, tuned.choice))
        for row in sorted(tuned.rows, key=lambda row: row["cost"])
    ]
    layers = [(row["layer"], *_cells(row, None)[:3]) for row in tuned.layers]
    first = table(("exact blocks", "cells", "opened", *heads), candidates)
    return f"{first}\n\n{table(('layer, alone sparse', *heads[:3]), layers)}\n"


def _cells(row: Mapping[str, Any], choice: Candidate | None) -> tuple[str, ...]:
    held = f"{row['held_depth']:.2%}, {row['held_pose']:.3f}" if "held_depth" in row else ""
    chosen = "chosen" if choice is not None and row["key"] == choice.key else ""
    numbers = (f"{row['cost']:.1%}", f"{row['depth_change']:.2%}", f"{row['pose_agreement']:.3f}")
    return *numbers, held, chosen


class _Bench:
    """Candidates on sets of photos; the dense network answers when it is needed."""

    def __init__(self, teacher: Backbone, sets: Sequence[Scene], kept: Kept) -> None:
        self._teacher, self._sets, self._kept = teacher, sets, kept
        self._dense: dict[str, Any] = {}
        if "dense_gflop" not in kept.document:
            kept.save(dense_gflop=_gflop(teacher, sets[0]))

    def measure(self, candidate: Candidate, scenes: Sequence[Scene]) -> None:
        """Measure what is missing, and keep it."""
        missing = [s for s in scenes if self._kept.find(candidate.key, s.name) is None]
        if not missing:
            return
        seen = self._sets[0].images[None]
        network = prepare(self._teacher, {"it": candidate}, seen)["it"]
        for scene in missing:
            if scene.name not in self._dense:
                self._dense[scene.name] = predict(self._teacher, scene)
            figures, _ = judge(network, scene, self._dense[scene.name])
            figures["gflop"] = _gflop(network, scene)
            self._kept.add(candidate.key, scene.name, figures)
        self._kept.save()

    def figures(self, candidate: Candidate, scenes: Sequence[Scene]) -> list[dict[str, Any]]:
        """What was measured on those of the scenes where something was."""
        found = (self._kept.find(candidate.key, s.name) for s in scenes)
        return [figures for figures in found if figures is not None]

    def near(
        self, tried: Sequence[Candidate], allowed: Allowed, scenes: Sequence[Scene]
    ) -> list[Candidate]:
        """Those within what is allowed and cheaper than dense, the cheapest first."""
        cost = {c: _mean(self.figures(c, scenes), "gflop") for c in tried}
        cheaper = [c for c in tried if cost[c] < self._kept.document["dense_gflop"]]
        fitting = [c for c in cheaper if allowed.holds(self.figures(c, scenes))]
        return sorted(fitting, key=cost.__getitem__)

    def row(self, candidate: Candidate, sets: Sequence[Scene]) -> dict[str, Any]:
        """A candidate as one line."""
        tuned, held = self.figures(candidate, sets[::HELD]), self.figures(candidate, sets[1::HELD])
        recipe = candidate.recipe
        row: dict[str, Any] = {
            "key": candidate.key,
            "layer": candidate.site,
            "blocks": f"{recipe.keep} of {recipe.block[1]}",
            "cells": ", ".join(map(str, recipe.summary)),
            "opened": recipe.opened,
            "cost": _mean(tuned, "gflop") / self._kept.document["dense_gflop"],
        }
        row["depth_change"], row["pose_agreement"] = _means(tuned)
        row |= {name: _mean(tuned, name) for name in ("exact", "seen", "latency_ms")}
        if held:
            row["held_depth"], row["held_pose"] = _means(held)
        return row


def _gflop(network: Backbone, scene: Scene) -> float:
    with torch.inference_mode():
        return efficiency.count_flops(lambda: compared(network, scene.images[None])) / 1e9


def _means(figures: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    given = list(figures)
    return _mean(given, "depth_change"), _mean(given, "pose_agreement")


def _mean(figures: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [one[name] for one in figures if one.get(name) is not None]
    return sum(values) / len(values) if values else float("nan")
