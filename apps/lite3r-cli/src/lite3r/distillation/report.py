"""What a run of `lite3r distill` reports: its numbers as one document, and the page of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distill
from lite3r.bench.costs import Cost, compare_costs, kept_density
from lite3r.bench.metrics import QUALITY
from lite3r.bench.quality import means
from lite3r.distillation.data import Lessons
from lite3r.distillation.folder import REPORT
from lite3r.distillation.plan import Plan
from lite3r.distillation.shown import scene_figure
from lite3r.pages.page import Page, render_page
from lite3r.shell import atomic
from lite3r.shell.environment import environment
from lite3r.shell.words import Words
from lite3r.student.student import Student
from recon_backbones import Backbone
from recon_eval import Report

TEACHER, UNTRAINED, STUDENT = "teacher", "student, untrained", "student, trained"
DEPLOYED = "student, deployed"
SHOWN_SCENES, REPEATS = 2, 5
FORMAT = "lite3r-report/2"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of a run: both models, the reports on them by label, the training.

    - `student`: the deployed student.
    - `trained`: how many numbers distillation changed.
    """

    teacher: Backbone
    student: Student
    lessons: Lessons
    reports: Mapping[str, Report]
    result: distill.Result
    trained: int


def write_report(
    folder: Path, outcome: Outcome, plan: Plan, *, seconds: float, words: Words
) -> dict[str, Any]:
    """Measure time and memory of what is run, write `report.json` and `report.html`."""
    words.say("measuring time and memory ...")
    images = outcome.lessons.judged[0].images[None]
    costs = compare_costs(
        {TEACHER: outcome.teacher, DEPLOYED: outcome.student.backbone},
        images,
        repeats=REPEATS,
        device=plan.device,
    )
    density = kept_density(outcome.student.backbone, images.to(plan.device))
    report = document(outcome, plan, costs, density, seconds)
    page = render_page(_page(report, outcome, plan))
    atomic.write_text(folder / "report.html", page)
    atomic.write_json(folder / REPORT, report)
    return report


def document(
    outcome: Outcome, plan: Plan, costs: Mapping[str, Cost], density: float, seconds: float
) -> dict[str, Any]:
    """Every number, with what it was measured on."""
    rows = _rows(outcome, costs, density)
    history = outcome.result.history
    return {
        "format": FORMAT,
        "summary": summary(rows, outcome.lessons.first_words),
        "rows": rows,
        "facts": _facts(outcome, plan, seconds),
        "notes": _notes(),
        "settings": plan.settings,
        "losses": [e["losses"]["loss"] for e in history if e["kind"] == "step"],
        "latencies_ms": {name: cost.latencies_ms for name, cost in costs.items()},
        "measurements": {name: report.to_dict() for name, report in outcome.reports.items()},
        "environment": environment(),
    }


def summary(rows: Sequence[Mapping[str, Any]], first_words: str) -> str:
    """The outcome in a few sentences, what it was measured on first."""
    teacher, student = rows[0], rows[-1]
    text = f"{first_words} Softmax attention sees {student['density']:.1%} of the query-key pairs."
    if teacher["abs_rel"] and student["abs_rel"] is not None:
        text += f" Depth error is {student['abs_rel'] / teacher['abs_rel']:.3f} times the teacher's"
        points = 100 * (student["auc30"] - teacher["auc30"])
        text += f", AUC@30 {points:+.1f} points."
    return text


def _rows(
    outcome: Outcome, costs: Mapping[str, Cost], density: float
) -> list[dict[str, float | int | str | None]]:
    """One row a model; only what people run has time and memory."""
    more: dict[str, dict[str, float | int | None]] = {
        TEACHER: {"density": 1.0, "trained_parameters": None},
        UNTRAINED: {"density": density, "trained_parameters": 0},
        STUDENT: {"density": density, "trained_parameters": outcome.trained},
        DEPLOYED: {"density": density, "trained_parameters": outcome.trained},
    }
    rows = []
    for label, extra in more.items():
        found = means(outcome.reports[label])
        if label == TEACHER and not outcome.lessons.truth:  # it would be compared with itself
            found = dict.fromkeys(metric.key for metric in QUALITY)
        cost = costs.get(label)
        spent = {
            "latency_ms": None if cost is None else cost.latency_ms,
            "peak_memory_mb": None if cost is None else cost.peak_memory_bytes / 1e6,
        }
        rows.append({"label": label, **found, **spent, **extra})
    return rows


def _facts(outcome: Outcome, plan: Plan, seconds: float) -> list[tuple[str, str]]:
    recipe, images, source = plan.recipe, plan.images, outcome.teacher.weights
    assert source is not None
    block = f"{recipe.block[0]} x {recipe.block[1]}"
    count = f"{plan.judged} unseen scenes" if outcome.lessons.truth else "one scene"
    result = outcome.result
    return [
        ("teacher", f"{plan.teacher.backbone}, weights {source.kind}, licence {source.licence}"),
        ("data", f"{plan.data}, {count}, {images.views} views, {images.size} pixels"),
        ("attention", f"keep {recipe.keep} of blocks of {block}, {recipe.token_order} order"),
        ("linear branch", f"{recipe.feature_map} features over {recipe.linear} keys"),
        ("linear layers", f"FP8 {recipe.fp8}" if recipe.fp8 != "none" else "as in the teacher"),
        ("trained", f"{recipe.trainable}, {result.steps} steps, {result.seconds:.0f} s"),
        ("deployed", str(outcome.student.deployment)),
        ("whole run", f"{seconds:.0f} s on {_machine(plan.device)}"),
        ("seed", str(plan.seed)),
    ]


def _notes() -> list[str]:
    return [
        "The untrained student is the recipe applied to the teacher, without training.",
        "The deployed student is what reconstruct, eval and lite3r.load run; the forms that train "
        "round to FP8 and compute in float32, and are not timed.",
    ]


def _page(report: Mapping[str, Any], outcome: Outcome, plan: Plan) -> Page:
    light = {DEPLOYED: outcome.student.backbone}
    shown = {TEACHER: outcome.teacher} | light if outcome.lessons.truth else light
    label = "true depth" if outcome.lessons.truth else TEACHER
    return Page(
        title=f"{plan.teacher.backbone}: a light student",
        summary=report["summary"],
        facts=report["facts"],
        rows=report["rows"],
        loss=report["losses"],
        scenes=[
            scene_figure(scene, shown, label) for scene in outcome.lessons.judged[:SHOWN_SCENES]
        ],
        notes=report["notes"],
    )


def _machine(device: str) -> str:
    """What the numbers were measured on, for people."""
    found = environment()
    if device == "cuda":
        return str(found["gpu"])
    return f"{found['processor']}, {found['threads']} threads"
