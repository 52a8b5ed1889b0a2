"""What a run of `lite3r distill` reports: its numbers as one document, and the page of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distill
from lite3r.bench.costs import Cost, compare_costs, kept_density
from lite3r.bench.metrics import METRICS
from lite3r.distillation.data import Lessons
from lite3r.distillation.folder import REPORT
from lite3r.distillation.plan import Plan
from lite3r.distillation.rows import (
    DEPLOYED,
    HALF,
    TEACHER,
    UNTRAINED,
    Row,
    quality,
    sentence,
    spent,
    weights,
)
from lite3r.shell import atomic
from lite3r.shell.environment import environment
from lite3r.shell.words import Words
from lite3r.student.student import Student
from recon_backbones import Backbone
from recon_eval import Report
from recon_eval.efficiency import place
from recon_eval.gallery import Gallery
from recon_eval.pages import Page, render_page

REPEATS = 5
FORMAT = "lite3r-report/4"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of a run: what people run, the reports by label, the training.

    - `models`: the teacher, in bfloat16 too where that is fast, and the deployed student.
    - `gallery`: the scenes that are shown, with what the models answered.
    - `many`: reports on the scenes of more views.
    - `result`: None for a student that nothing was trained of.
    - `trained`: how many numbers distillation changed.
    """

    models: Mapping[str, Backbone]
    student: Student
    lessons: Lessons
    gallery: Gallery
    reports: Mapping[str, Report]
    many: Mapping[str, Report]
    result: distill.Result | None
    trained: int


def write_report(
    folder: Path, outcome: Outcome, plan: Plan, *, seconds: float, words: Words
) -> dict[str, Any]:
    """Measure time and memory of what is run, write `report.json` and `report.html`."""
    costs: dict[str, Cost] = {}
    larger: dict[str, Cost] = {}
    lessons = outcome.lessons
    for found, scenes in ((costs, lessons.judged), (larger, lessons.many)):
        if scenes:
            words.say(f"measuring time and memory at {scenes[0].num_views} views ...")
            images, device = scenes[0].images[None], plan.device
            found |= compare_costs(  # no report shows operations
                outcome.models, images, repeats=REPEATS, device=device, flops=False
            )
    most = (lessons.many or lessons.judged)[0].images[None]
    density = kept_density(outcome.student.backbone, most.to(plan.device))
    report = document(outcome, plan, costs, larger, density, seconds)
    atomic.write_text(folder / "report.html", render_page(_page(report, outcome, plan)))
    atomic.write_json(folder / REPORT, report)
    return report


def document(
    outcome: Outcome,
    plan: Plan,
    costs: Mapping[str, Cost],
    larger: Mapping[str, Cost],
    density: float,
    seconds: float,
) -> dict[str, Any]:
    """Every number, with what it was measured on."""
    rows = _rows(outcome, costs, larger, density)
    history = outcome.result.history if outcome.result else []
    views = outcome.lessons.judged[0].num_views
    pairs = f"{rows[-1]['density']:.1%} of the query-key pairs exactly"
    seen = f"At {plan.many_views or views} views softmax attention sees {pairs}."
    return {
        "format": FORMAT,
        "summary": sentence(rows, views, plan.many_views),
        "about": f"{outcome.lessons.first_words} {seen}",
        "rows": rows,
        "facts": _facts(outcome, plan, views, seconds),
        "notes": _notes(outcome, plan),
        "settings": plan.settings,
        "losses": [e["losses"]["loss"] for e in history if e["kind"] == "step"],
        "latencies_ms": {name: list(cost.latencies_ms) for name, cost in costs.items()},
        "latencies_ms_many": {name: list(cost.latencies_ms) for name, cost in larger.items()},
        "measurements": {name: report.to_dict() for name, report in outcome.reports.items()},
        "measurements_many": {name: report.to_dict() for name, report in outcome.many.items()},
        "differences": outcome.gallery.differences(),
        "environment": environment(),
    }


def _rows(
    outcome: Outcome, costs: Mapping[str, Cost], larger: Mapping[str, Cost], density: float
) -> list[Row]:
    """One row a model; only what people run has time and memory."""
    rows = quality(outcome.reports, outcome.many, truth=outcome.lessons.truth)
    for row in rows:
        label = row["label"]
        teacher = label in (TEACHER, HALF)
        row |= spent(costs.get(label), larger.get(label))
        row["density"] = 1.0 if teacher else density
        trained = 0 if label == UNTRAINED else outcome.trained
        row["trained_parameters"] = None if teacher else trained
        if label in outcome.models:
            row |= weights(outcome.models[label], None if teacher else outcome.models[TEACHER])
    return rows


def _facts(outcome: Outcome, plan: Plan, views: int, seconds: float) -> list[tuple[str, str]]:
    recipe, size, source = plan.recipe, plan.images.size, outcome.models[TEACHER].weights
    assert source is not None
    count = f"{plan.judged} unseen scenes" if outcome.lessons.truth else "one scene"
    branch = f"{recipe.feature_map} features over {recipe.linear} keys"
    learned = f", {made.steps} steps, {made.seconds:.0f} s" if (made := outcome.result) else ""
    if solved := plan.training.solve_batches:
        learned = f", solved for on {solved} scenes{learned}"
    return [
        ("teacher", f"{plan.teacher.backbone}, weights {source.kind}, license {source.license}"),
        ("data", f"{plan.data}, {count}, {views} views, {size} pixels"),
        ("attention", f"{' and '.join(recipe.scopes)}: {recipe.words()}"),
        ("linear branch", branch if recipe.linear != "none" else "none"),
        ("linear layers", f"FP8 {recipe.fp8}" if recipe.fp8 != "none" else "as in the teacher"),
        ("trained", f"{recipe.trainable}{learned}"),
        ("deployed", str(outcome.student.deployment)),
        ("whole run", f"{seconds:.0f} s on {place(environment(), plan.device)}"),
        ("seed", str(plan.seed)),
    ]


def _notes(outcome: Outcome, plan: Plan) -> list[str]:
    found = [
        "The untrained student is the recipe applied to the teacher, without training.",
        "The deployed student is what reconstruct, eval and lite3r.load run; the forms that train "
        "round to FP8 and compute in float32, and are not timed.",
    ]
    if outcome.many:
        found.append(
            f"Many views: {len(outcome.lessons.many)} scenes of {plan.many_views} views, drawn "
            "from a wider world than the other scenes (rooms, facades, hills, single things)."
        )
    elif outcome.lessons.many:
        found.append(
            f"Many views: the photos over and over, {plan.many_views} in all; this measures time "
            "and memory alone."
        )
    return found


def _page(report: Mapping[str, Any], outcome: Outcome, plan: Plan) -> Page:
    return Page(
        title=f"{plan.teacher.backbone}: a light student",
        summary=report["summary"],
        about=report["about"],
        facts=report["facts"],
        columns=METRICS,
        rows=report["rows"],
        loss=report["losses"],
        scenes=outcome.gallery.figures((UNTRAINED, DEPLOYED)),
        notes=[*report["notes"], *outcome.gallery.words()],
    )
