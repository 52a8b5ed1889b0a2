"""A run of `lite3r distill` from a checked folder to its report: prepare, teach, judge, report."""

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distill
from lite3r.bench.quality import evaluate
from lite3r.distillation import folder as folders
from lite3r.distillation.data import Lessons, lessons
from lite3r.distillation.plan import Plan
from lite3r.distillation.report import DEPLOYED, STUDENT, TEACHER, UNTRAINED, Outcome, write_report
from lite3r.distillation.teach import Watched, teach
from lite3r.shell.errors import reported
from lite3r.shell.words import Words
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy
from lite3r.student.student import Student
from recon_backbones import Backbone
from recon_eval import Report


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A teacher, its untrained student, and what to learn from."""

    teacher: Backbone
    student: Student
    lessons: Lessons


def run(plan: Plan, folder: Path, state: folders.State, words: Words) -> dict[str, Any]:
    """Distill, measure and write; with `state` "finished", read what is there.

    Returns the report, as `report.json` holds it. Raises UserError for what cannot be used, and
    KeyboardInterrupt when the training was stopped; it can be resumed then.
    """
    if state == "finished":
        words.say(f"{folder} is finished already; here is its report.")
        found: dict[str, Any] = json.loads((folder / folders.REPORT).read_text(encoding="utf-8"))
        return found
    began = time.perf_counter()
    with reported():
        ready = prepare(plan, words)
        if state == "new":
            folders.begin(folder, plan.settings)
    words.say(ready.lessons.first_words)
    _introduce(ready, folder, words)
    teacher, student = ready.teacher, ready.student
    reports = {
        TEACHER: judge(plan, teacher, ready.lessons, TEACHER, words),
        UNTRAINED: judge(plan, student.backbone, ready.lessons, UNTRAINED, words),
    }
    result = learn(plan, ready, folder, words)
    reports[STUDENT] = judge(plan, student.backbone, ready.lessons, STUDENT, words)
    trained = sum(p.numel() for p in student.trained().values())
    student.save(folder)
    light = deploy(student, backend=plan.backend, precision=plan.precision)
    reports[DEPLOYED] = judge(plan, light.backbone, ready.lessons, DEPLOYED, words)
    return write_report(
        folder,
        Outcome(
            teacher=teacher,
            student=light,
            lessons=ready.lessons,
            reports=reports,
            result=result,
            trained=trained,
        ),
        plan,
        seconds=time.perf_counter() - began,
        words=words,
    )


def prepare(plan: Plan, words: Words) -> Prepared:
    """Load the teacher, make the student, draw or read the data.

    Raises ValueError or OSError for what cannot be used.
    """
    teacher = plan.teacher.load(device=plan.device)
    student = lighten(teacher, plan.recipe, plan.teacher)
    found = lessons(
        plan.data,
        teacher,
        images=plan.images,
        batches=plan.training.steps * plan.training.accumulation,
        judged=plan.judged,
        seed=plan.seed,
        words=words,
    )
    return Prepared(teacher=teacher, student=student, lessons=found)


def learn(plan: Plan, ready: Prepared, folder: Path, words: Words) -> distill.Result:
    """Teach the student; a stop leaves a checkpoint and raises KeyboardInterrupt."""
    directory = folder / folders.TRAINING
    checks = reported() if directory.exists() else nullcontext()  # a checkpoint may be damaged
    with words.progress("distilling", plan.training.steps) as advance, checks:
        result = teach(
            ready.student,
            ready.teacher,
            ready.lessons.batches,
            plan.training,
            seed=plan.seed,
            directory=directory,
            reporter=Watched(words, advance),
        )
    ready.student.backbone.eval()
    if result.stopped == "interrupted":
        words.say(f"stopped after step {result.steps}; go on with --resume")
        raise KeyboardInterrupt
    return result


def judge(plan: Plan, model: Backbone, taught: Lessons, label: str, words: Words) -> Report:
    """Hold a model against the truth of the judged scenes."""
    with words.progress(f"measuring the {label}", len(taught.judged)) as advance:
        return evaluate(
            model, taught.judged, label=label, dataset=plan.data, seed=plan.seed, advance=advance
        )


def _introduce(ready: Prepared, folder: Path, words: Words) -> None:
    source = ready.teacher.weights
    assert source is not None
    total = sum(p.numel() for p in ready.teacher.parameters())
    words.say(
        f"teacher {ready.teacher.name}: {total / 1e6:.1f} million parameters, weights "
        f"{source.kind} ({source.location}), licence {source.licence}"
    )
    trained = sum(p.numel() for p in ready.student.trained().values())
    words.say(f"student: {trained:,} parameters to train; it is kept in {folder}")
