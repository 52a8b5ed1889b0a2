"""The cheapest attention whose answers stay near those of the dense network, on given photos.

Sets of views in turn: the first, third, ... are tuned on (axes are calibrated on the first), the
others are held out and decide. No truth is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lite3r.bench.quality import compared, predict
from lite3r.shell.errors import UserError
from lite3r.shell.words import Words
from lite3r.study.candidates import Candidate, around, few, grid, halved, shared
from lite3r.study.judge import judge
from lite3r.study.prepare import alone, make
from recon_backbones import Backbone
from recon_eval import efficiency
from recon_eval.ablation import Allowed, means_of
from recon_eval.data import Scene
from recon_eval.report import Kept, Trials, mean_of, told_of

HELD = 2  # every second set of views

Figures = Mapping[str, Any]


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
            f"views={sets[0].num_views}; the photos make one set of so many, and another must be "
            "held out: take fewer views, or more photos"
        )
    if "dense_gflop" not in kept.document:
        with told_of("the dense network"):
            judge(teacher, sets[0], None)
        kept.save(dense_gflop=_gflop(teacher, sets[0]))
    trials = Trials(kept, partial(_measure, teacher, sets[0].images[None], {}))
    dense, tuned, held = kept.document["dense_gflop"], sets[::HELD], sets[1::HELD]
    near = partial(trials.cheapest, scenes=tuned, holds=allowed.holds, cost="gflop", below=dense)
    tried = list(grid())
    for candidate in words.each("trying candidates", tried, len(tried)):
        trials.try_on(candidate, tuned)

    def chosen() -> Candidate | None:
        return next((c for c in near(tried) if allowed.holds(trials.try_on(c, held))), None)

    if found := near(tried):
        tried += trials.try_all(around(found[0]), tuned)
    if best := chosen():
        tried += by_layer(trials, best, teacher, tuned)
    choice = chosen()
    layers = alone("layer", choice or few(64), teacher)
    for candidate in layers.values():
        trials.try_on(candidate, sets[:1])

    def row(candidate: Candidate) -> dict[str, Any]:
        seen, unseen = (trials.figures(candidate, scenes) for scenes in (tuned, held))
        return _row(candidate, seen, unseen, dense)

    return Tuned(
        choice=choice,
        rows=[row(candidate) for candidate in dict.fromkeys(tried)],
        layers=[row(candidate) for candidate in layers.values()],
    )


def by_layer(
    trials: Trials, candidate: Candidate, teacher: Backbone, scenes: Sequence[Scene]
) -> list[Candidate]:
    """Try the candidate with fewer exact blocks in one layer, then with blocks shared by need."""
    halves = trials.try_all(halved(candidate, len(alone("", candidate, teacher))), scenes)
    change, *each = (means_of(trials.figures(c, scenes))[0] for c in (candidate, *halves))
    return halves + trials.try_all(shared(candidate, change, each), scenes)


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
        "blocks": f"{recipe.blocks} of {recipe.block[1]}",
        "cells": ", ".join(map(str, recipe.summary)),
        "opened": recipe.opened,
        "cost": mean_of(tuned, "gflop") / dense,
    }
    row["depth_change"], row["pose_agreement"] = means_of(tuned)
    row |= {name: mean_of(tuned, name) for name in ("exact", "seen", "latency_ms")}
    if held:
        row["held_depth"], row["held_pose"] = means_of(held)
    return row


def _gflop(network: Backbone, scene: Scene) -> float:
    with torch.inference_mode():
        return efficiency.count_flops(lambda: compared(network, scene.images[None])) / 1e9
