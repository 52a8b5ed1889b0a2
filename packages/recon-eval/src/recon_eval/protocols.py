"""Protocols by which answers are held against the truth, and the columns that show them."""

import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recon_eval import conventions
from recon_eval.answers import Answer, against_truth
from recon_eval.pages import Column
from recon_eval.report import Report
from recon_eval.sets.scene import Scene

Protocol = Literal["median", "paper"]
DEPTH, POSE = "depth/median/sequence", "pose/pairs/signed"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a protocol measures.

    - `results`: holds an answer against a scene, for what its truth holds.
    - `columns`: figures as tables show them.
    - `sources`: figures by key, and the protocol of a report whose mean over scenes each is.
    """

    results: Callable[[Answer, Scene], list[Any]]
    columns: tuple[Column, ...]
    sources: Mapping[str, str]


def _median(answer: Answer, scene: Scene) -> list[Any]:
    assert answer.world_to_camera is not None
    return against_truth(scene, depth=answer.depth, world_to_camera=answer.world_to_camera)


def _paper(answer: Answer, scene: Scene) -> list[Any]:
    assert answer.world_to_camera is not None and answer.intrinsics is not None
    cameras = answer.world_to_camera.float(), answer.intrinsics.float()
    return list(conventions.lite3r.evaluate_sample(answer.depth.float(), *cameras, scene))


PROTOCOLS: dict[Protocol, Measured] = {
    "median": Measured(
        results=_median,
        columns=(
            Column.of("abs_rel", more=", after one median scale per scene"),
            Column.of("delta1"),
            Column.of("rotation_degrees", digits=2),
            Column.of("direction_degrees", digits=2),
            Column.of("auc30"),
        ),
        sources={
            "abs_rel": DEPTH,
            "delta1": DEPTH,
            "rotation_degrees": POSE,
            "direction_degrees": POSE,
            "auc30": POSE,
        },
    ),
    "paper": Measured(
        results=_paper,
        columns=(
            Column.of("abs_rel", digits=4, more=", after one least-squares scale"),
            Column.of("delta1", digits=4),
            Column(
                key="rot_err_deg",
                title="Rot",
                unit="°",
                digits=4,
                explanation="mean, view 0 included",
            ),
            Column(
                key="trans_err",
                title="Trans",
                digits=4,
                explanation="mean, one scale of any sign",
            ),
            Column(
                key="chamfer",
                title="CD",
                digits=4,
                explanation="half the mean squares, unaligned",
            ),
            Column(
                key="fscore",
                title="F5cm",
                digits=4,
                better="high",
                explanation="at 0.05, unaligned",
            ),
        ),
        sources={
            "abs_rel": "lite3r/depth",
            "delta1": "lite3r/depth",
            "rot_err_deg": "lite3r/pose",
            "trans_err": "lite3r/pose",
            "chamfer": "lite3r/geometry",
            "fscore": "lite3r/geometry",
        },
    ),
}
"""median: one median scale for all views of a scene, and all pairs of views. paper: what the code
of Lite3R's paper measures, with its flaws (`recon_eval.conventions.lite3r` names them)."""


def evaluate(
    answer: Callable[[Scene], Answer],
    scenes: Iterable[Scene],
    *,
    model: str,
    dataset: str,
    seed: int | None = None,
    protocol: Protocol = "median",
    advance: Callable[[], None] = lambda: None,
    say: Callable[[str], object] = warnings.warn,
) -> Report:
    """Hold what is answered against the truth of every scene.

    A scene that the protocol cannot measure, one with a NaN say, is dropped: the report names it
    with the reason, and no mean counts it.

    - `model`, `dataset`, `seed`: what the report says of them.
    - `advance`: called after each scene.
    - `say`: takes a sentence for each dropped scene; a warning unless given.

    Raises ValueError where no scene can be measured, with the first reason.
    """
    report = Report(model=model, dataset=dataset, seed=seed)
    for scene in scenes:
        told = answer(scene)
        try:
            results = PROTOCOLS[protocol].results(told, scene)
        except ValueError as error:
            report.drop(scene.name, str(error))
            say(f"{model}: {scene.name} is dropped and counts in no mean; {error}")
        else:
            report.add(scene.name, *results)
        advance()
    if report.dropped and not report.entries:
        name, reason = next(iter(report.dropped.items()))
        raise ValueError(f"{model}: no scene of {dataset} can be measured; {name}: {reason}")
    return report


def means(report: Report, protocol: Protocol = "median") -> dict[str, float | None]:
    """Means over scenes of every figure of a protocol, by key; None where it is unknown.

    Scenes that the report dropped are in none: say how many they are beside the means.
    """
    found: dict[str, float | None] = {}
    for key, source in PROTOCOLS[protocol].sources.items():
        values = [v for v in report.values(source, key).values() if math.isfinite(v)]
        found[key] = statistics.fmean(values) if values else None
    return found
