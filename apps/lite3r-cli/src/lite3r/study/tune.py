"""The cheapest attention whose answers stay near those of the dense network, on given photos.

Sets of views in turn: the first, third, ... are tuned on (axes are calibrated on the first), the
others are held out and decide. No truth is needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lite3r.bench.quality import compared, predict
from lite3r.shell.errors import UserError
from lite3r.shell.words import Words
from lite3r.study.candidates import Candidate, around, few, grid
from lite3r.study.judge import judge
from lite3r.study.prepare import alone, make
from recon_backbones import Backbone
from recon_eval import efficiency
from recon_eval.data import Scene
from recon_eval.report import Kept, Panel, Point, Trials, mean_of, table

HELD = 2  # every second set of views

Figures = Mapping[str, Any]


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

    def holds(self, figures: Iterable[Figures]) -> bool:
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
    """Measure what is not kept yet, and choose. Raises UserError for fewer than two sets."""
    if len(sets) < HELD:
        raise UserError(
            f"views={sets[0].num_views}; one set must be left to be held out: take half as many "
            "views, or more photos"
        )
    if "dense_gflop" not in kept.document:
        kept.save(dense_gflop=_gflop(teacher, sets[0]))
    trials = Trials(kept, partial(_measure, teacher, sets[0].images[None], {}))
    dense, tuned, held = kept.document["dense_gflop"], sets[::HELD], sets[1::HELD]
    near = partial(trials.cheapest, scenes=tuned, holds=allowed.holds, cost="gflop", below=dense)
    tried = list(grid())
    with words.progress("trying candidates", len(tried)) as advance:
        for candidate in tried:
            trials.try_on(candidate, tuned)
            advance()
    if found := near(tried):
        more = [c for c in around(found[0]) if c not in tried]
        for candidate in more:
            trials.try_on(candidate, tuned)
        tried += more
    held_too = (c for c in near(tried) if allowed.holds(trials.try_on(c, held)))
    choice = next(held_too, None)
    layers = alone("layer", choice or few(64), teacher)
    for candidate in layers.values():
        trials.try_on(candidate, sets[:1])

    def row(candidate: Candidate) -> dict[str, Any]:
        seen, unseen = (trials.figures(candidate, scenes) for scenes in (tuned, held))
        return _row(candidate, seen, unseen, dense)

    return Tuned(
        choice=choice,
        rows=[row(candidate) for candidate in tried],
        layers=[row(candidate) for candidate in layers.values()],
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


def _measure(
    teacher: Backbone,
    seen: Tensor,
    dense: dict[str, Any],
    candidate: Candidate,
    scenes: Sequence[Scene],
) -> Iterator[dict[str, Any]]:
    """Figures of a candidate; the dense network answers when it is needed, once a scene."""
    network = make(teacher, candidate, seen)
    for scene in scenes:
        if scene.name not in dense:
            dense[scene.name] = predict(teacher, scene)
        figures, _ = judge(network, scene, dense[scene.name])
        yield figures | {"gflop": _gflop(network, scene)}


def _row(
    candidate: Candidate, tuned: Sequence[Figures], held: Sequence[Figures], dense: float
) -> dict[str, Any]:
    """A candidate as one line."""
    recipe = candidate.recipe
    row: dict[str, Any] = {
        "key": candidate.key,
        "layer": candidate.site,
        "blocks": f"{recipe.keep} of {recipe.block[1]}",
        "cells": ", ".join(map(str, recipe.summary)),
        "opened": recipe.opened,
        "cost": mean_of(tuned, "gflop") / dense,
    }
    row["depth_change"], row["pose_agreement"] = _means(tuned)
    row |= {name: mean_of(tuned, name) for name in ("exact", "seen", "latency_ms")}
    if held:
        row["held_depth"], row["held_pose"] = _means(held)
    return row


def _gflop(network: Backbone, scene: Scene) -> float:
    with torch.inference_mode():
        return efficiency.count_flops(lambda: compared(network, scene.images[None])) / 1e9


def _means(figures: Iterable[Figures]) -> tuple[float, float]:
    given = list(figures)
    return mean_of(given, "depth_change"), mean_of(given, "pose_agreement")
