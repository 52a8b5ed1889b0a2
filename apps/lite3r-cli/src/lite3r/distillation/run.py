"""A run of `lite3r distill` from a checked folder to its report: prepare, teach, judge, report."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import distill
from lite3r.bench.images import ImageSettings
from lite3r.bench.quality import answerer, evaluate
from lite3r.bench.scenes import photo_sets
from lite3r.distillation import folder as folders
from lite3r.distillation.data import VISITS, Lessons, lessons
from lite3r.distillation.plan import Plan
from lite3r.distillation.report import Outcome, write_report
from lite3r.distillation.rows import DEPLOYED, HALF, STUDENT, TEACHER, UNTRAINED
from lite3r.distillation.teach import Watched, teach
from lite3r.shell.errors import UserError, reported
from lite3r.shell.words import Words
from lite3r.student.compose import check_recipe, lighten
from lite3r.student.deploy import deploy, number_type
from lite3r.student.student import Student
from recon_backbones import Backbone
from recon_eval import Report
from recon_eval.gallery import Gallery


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A teacher, its untrained student, what to learn from, and what the report shows."""

    teacher: Backbone
    student: Student
    lessons: Lessons
    gallery: Gallery


def run(plan: Plan, folder: Path, state: folders.State, words: Words) -> dict[str, Any]:
    """Distill, measure and write; with `state` "finished", read what is there.

    Returns the report, as `report.json` holds it. Raises UserError for what cannot be used, and
    KeyboardInterrupt when the training was stopped; it can be resumed then.
    """
    if state == "finished":
        words.say(f"{folder} is finished already; here is its report.")
        with reported():
            found = folders.read_report(folder)
        assert found is not None  # finished runs have one
        return found
    began = time.perf_counter()
    ready = prepare(plan, words)
    if state == "new":
        with reported(OSError):
            folders.begin(folder, plan.settings)
    words.say(ready.lessons.first_words)
    _introduce(ready, folder, words)
    outcome = teach_and_judge(plan, ready, folder, words)
    return write_report(folder, outcome, plan, seconds=time.perf_counter() - began, words=words)


def teach_and_judge(plan: Plan, ready: Prepared, folder: Path, words: Words) -> Outcome:
    """Teach and save the student, deploy it, and judge every model as it comes to be."""
    teacher, student, gallery = ready.teacher, ready.student, ready.gallery
    judged = partial(judge, plan, taught=ready.lessons, words=words)
    reports: dict[str, Report] = {}
    for label, model in ((TEACHER, teacher), (UNTRAINED, student.backbone)):
        gallery.look(label, answerer(model))
        reports[label] = judged(model, label=label)
    taught = bool(plan.training.steps or plan.training.solve_batches)
    result = learn(plan, ready, folder, words) if taught else None
    student.save(folder)
    if taught:
        reports[STUDENT] = judged(student.backbone, label=STUDENT)
    trained = sum(p.numel() for p in student.trained().values()) if taught else 0
    light = deploy(student, backend=plan.backend, precision=plan.precision)
    gallery.look(DEPLOYED, answerer(light.backbone))
    models = {TEACHER: teacher, DEPLOYED: light.backbone}
    if number_type("auto", next(teacher.parameters()).device) == torch.bfloat16:
        models[HALF] = copy.deepcopy(teacher).to(torch.bfloat16)
        reports[HALF] = judged(models[HALF], label=HALF)
    reports[DEPLOYED] = judged(light.backbone, label=DEPLOYED)
    return Outcome(
        models=models,
        student=light,
        lessons=ready.lessons,
        gallery=gallery,
        reports=reports,
        many=judge_many(plan, models, ready.lessons, words),
        result=result,
        trained=trained,
    )


def prepare(plan: Plan, words: Words) -> Prepared:
    """Load the teacher, make the student, draw or read the data.

    Raises UserError for what cannot be used.
    """
    images = plan.images
    shape = {"size": images.size, "views": images.views}
    with reported():
        teacher = plan.teacher.load(device=plan.device)
        check_recipe(plan.recipe, teacher)
        photos = [photo_sets(folder, teacher, **shape)[0] for folder in plan.photos]
    many = ImageSettings(views=plan.many_views, size=images.size) if plan.many_views else None
    found = lessons(
        plan.data,
        teacher,
        images=images,
        batches=max(
            (plan.training.steps or 0) * plan.training.accumulation,
            VISITS * plan.training.solved(plan.recipe.trainable),
        ),
        judged=plan.judged,
        wide=plan.recipe.trainable == "gains",
        many=many,
        many_scenes=plan.many_scenes,
        seed=plan.seed,
        words=words,
    )
    if plan.recipe.calibrates:
        what = "drawn scenes" if found.seen is None else f"{found.seen.shape[1]} photos"
        words.say(f"finding the axes of the order and what its cells understate: on {what} ...")
    student = lighten(teacher, plan.recipe, plan.teacher, calibrate=found.seen)
    first = found.judged[0]
    if not found.truth:
        first = replace(first, depth=None, world_to_camera=None)  # these are the teacher's
    gallery = Gallery([first, *photos], base=TEACHER)
    return Prepared(teacher=teacher, student=student, lessons=found, gallery=gallery)


def learn(plan: Plan, ready: Prepared, folder: Path, words: Words) -> distill.Result | None:
    """Teach the student; a stop leaves a checkpoint and raises KeyboardInterrupt."""
    checks = reported(ValueError, OSError, distill.Diverged, of=("distill.resume",))
    with words.progress("distilling", plan.training.steps or 0) as advance, checks:
        result = teach(
            ready.student,
            ready.teacher,
            ready.lessons.batches,
            plan.training,
            seed=plan.seed,
            directory=folder / folders.TRAINING,
            reporter=Watched(words, advance),
        )
    ready.student.backbone.eval()
    if result is not None and result.told_to_stop:
        words.say(f"stopped after step {result.steps}; go on with --resume")
        raise KeyboardInterrupt(result.signal)
    return result


def judge(plan: Plan, model: Backbone, taught: Lessons, label: str, words: Words) -> Report:
    """Hold a model against the truth of the judged scenes, all of them, as others are."""
    progress = words.progress(f"measuring the {label}", len(taught.judged))
    with reported(of=("recon_eval.protocols",)), progress as advance:
        about = {"model": label, "dataset": plan.data, "seed": plan.seed}
        report = evaluate(model, taught.judged, **about, advance=advance, say=words.say)
    if report.dropped:
        raise UserError(f"the {label} fails on some scenes; it must answer all: see what is said")
    return report


def judge_many(
    plan: Plan, models: Mapping[str, Backbone], taught: Lessons, words: Words
) -> dict[str, Report]:
    """Hold what people run against the truth of scenes of more views; nothing for photos."""
    if not taught.truth or not taught.many:
        return {}
    larger = replace(taught, judged=taught.many)
    where = f"at {plan.many_views} views"
    return {
        label: judge(plan, model, larger, f"{label}, {where}", words)
        for label, model in models.items()
    }


def _introduce(ready: Prepared, folder: Path, words: Words) -> None:
    source = ready.teacher.weights
    assert source is not None
    total = sum(p.numel() for p in ready.teacher.parameters())
    words.say(
        f"teacher {ready.teacher.name}: {total / 1e6:.1f} million parameters, weights "
        f"{source.kind} ({source.location}), license {source.license}"
    )
    trained = sum(p.numel() for p in ready.student.trained().values())
    words.say(f"student: {trained:,} parameters to train; it is kept in {folder}")
