"""A distillation from start to report: what `lite3r distill` does once its folder is checked."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon_backbones import Backbone
from recon_eval import Report
from recon_eval.data import Scene

from . import atomic, compose, runs, scenes
from .environment import environment, pick_device
from .errors import reported
from .measuring import Cost, compare_costs, evaluate, figures, predict
from .report import Page, SceneFigure, render_page, rich_table
from .student import Student, TeacherSpec, default_weights
from .terminal import Terminal

if TYPE_CHECKING:
    from .commands.distill import Distill

TEACHER, UNTRAINED, STUDENT = "teacher", "student, untrained", "student"
SHOWN_SCENES, SHOWN_VIEWS, REPEATS = 2, 4, 5
FORMAT = "lite3r-report/1"


class Distillation:
    """One run of `lite3r distill` in a checked folder."""

    def __init__(self, options: "Distill", folder: Path, terminal: Terminal) -> None:
        self.options, self.folder, self.terminal = options, folder, terminal
        self.device = pick_device(options.device)
        self.images = scenes.ImageSettings(views=options.views, size=options.size)
        self.spec = TeacherSpec(
            backbone=options.backbone,
            weights=options.weights or default_weights(options.backbone),
            seed=options.seed,
        )

    def run(self, state: runs.State) -> None:
        """Distil, measure, write; with `state` "finished", show what is there."""
        if state == "finished":
            self.terminal.say(f"{self.folder} is finished already; here is its report.")
            report = json.loads((self.folder / runs.REPORT).read_text(encoding="utf-8"))
            return self._show(report)
        began = time.perf_counter()
        with reported():
            teacher = self.spec.load(device=self.device)
            student = compose.lighten(teacher, self.options.recipe, self.spec)
            batches, judged = self._data(teacher)
            if state == "new":
                runs.begin(self.folder, self.options.settings())
        self._introduce(teacher, student)
        reports = {
            TEACHER: self._evaluate(teacher, judged, TEACHER),
            UNTRAINED: self._evaluate(student.backbone, judged, UNTRAINED),
        }
        result = self._distil(student, teacher, batches)
        reports[STUDENT] = self._evaluate(student.backbone, judged, STUDENT)
        student.save(self.folder)
        self._finish(student, teacher, judged, reports, result, time.perf_counter() - began)

    @cached_property
    def has_truth(self) -> bool:
        """Whether the data knows true depth and cameras."""
        return self.options.data == "synthetic"

    def _data(self, teacher: Backbone) -> tuple[Any, list[Scene]]:
        """What to learn from, and what to be measured on."""
        if self.has_truth:
            training = self.options.training
            count = scenes.scenes_to_learn_from(training.steps * training.accumulation)
            learn = scenes.synthetic(
                "train", count=count, images=self.images, seed=self.options.seed
            )
            test = scenes.synthetic(
                "test", count=self.options.eval_scenes, images=self.images, seed=self.options.seed
            )
            with self.terminal.progress("drawing test scenes", len(test)) as advance:
                judged = []
                for number in range(len(test)):
                    judged.append(test[number])
                    advance()
            return scenes.SceneBatches(learn), judged
        photos = scenes.photos_scene(self.options.data, teacher, self.images)
        views = min(self.images.views, len(photos))
        seen = Scene(name=Path(self.options.data).name, images=photos[:views])
        told = predict(teacher, seen)
        truth = replace(
            seen, depth=told.depth[0].float(), world_to_camera=told.world_to_camera[0].float()
        )
        return scenes.PhotoBatches(photos, views), [truth]

    def _introduce(self, teacher: Backbone, student: Student) -> None:
        source = teacher.weights
        assert source is not None
        total = sum(p.numel() for p in teacher.parameters())
        self.terminal.say(
            f"teacher {self.spec.backbone}: {total / 1e6:.1f} million parameters, weights "
            f"{source.kind} ({source.location}), licence {source.licence}"
        )
        trained = sum(p.numel() for p in student.trained().values())
        self.terminal.say(f"student: {trained:,} parameters to train; it is kept in {self.folder}")

    def _evaluate(self, model: Backbone, judged: Sequence[Scene], label: str) -> Report:
        with self.terminal.progress(f"measuring the {label}", len(judged)) as advance:
            return evaluate(
                model,
                judged,
                label=label,
                dataset=self.options.data,
                seed=self.options.seed,
                advance=advance,
            )

    def _distil(self, student: Student, teacher: Backbone, batches: Any) -> Any:
        steps = self.options.training.steps
        with self.terminal.progress("distilling", steps) as advance, reported():
            result = compose.distil(
                student,
                teacher,
                batches,
                self.options.training,
                seed=self.options.seed,
                directory=self.folder / runs.TRAINING,
                reporter=compose.Watched(self.terminal, advance),
            )
        student.backbone.eval()
        if result.stopped == "interrupted":
            self.terminal.say(f"stopped after step {result.steps}; go on with --resume")
            raise KeyboardInterrupt
        return result

    def _finish(
        self,
        student: Student,
        teacher: Backbone,
        judged: Sequence[Scene],
        reports: Mapping[str, Report],
        result: Any,
        seconds: float,
    ) -> None:
        scene = judged[0]
        self.terminal.say("measuring time and memory ...")
        costs = compare_costs(
            {TEACHER: teacher, STUDENT: student.backbone},
            scene.images[None],
            repeats=REPEATS,
            device=self.device,
        )
        density = compose.kept_density(student, scene.images[None].to(self.device))
        trained = sum(p.numel() for p in student.trained().values())
        rows = [
            self._row(TEACHER, reports, costs[TEACHER], density=1.0, trained=None),
            self._row(UNTRAINED, reports, costs[STUDENT], density=density, trained=0),
            self._row(STUDENT, reports, costs[STUDENT], density=density, trained=trained),
        ]
        losses = [e["losses"]["loss"] for e in result.history if e["kind"] == "step"]
        document = {
            "format": FORMAT,
            "rows": rows,
            "facts": self._facts(teacher, result, seconds),
            "notes": self._notes(),
            "settings": self.options.settings(),
            "losses": losses,
            "latencies_ms": {name: cost.latencies_ms for name, cost in costs.items()},
            "measurements": {name: report.to_dict() for name, report in reports.items()},
            "environment": environment(),
        }
        page = self._page(document, student, teacher, judged[:SHOWN_SCENES])
        atomic.write_text(self.folder / "report.html", render_page(page))
        atomic.write_json(self.folder / runs.REPORT, document)
        self._show(document)
        self.terminal.say(f"report: {self.folder / 'report.html'}")

    def _row(
        self,
        label: str,
        reports: Mapping[str, Report],
        cost: Cost,
        *,
        density: float,
        trained: int | None,
    ) -> dict[str, Any]:
        row = figures(reports[label]).row(
            label,
            latency_ms=cost.latency_ms,
            peak_memory_mb=cost.peak_memory_bytes / 1e6,
            density=density,
            trained_parameters=trained,
        )
        if label == TEACHER and not self.has_truth:  # it would be compared with itself
            row |= dict.fromkeys(
                ("absrel", "delta1", "rotation_degrees", "translation_degrees", "auc30")
            )
        return row

    def _facts(self, teacher: Backbone, result: Any, seconds: float) -> list[tuple[str, str]]:
        options, recipe = self.options, self.options.recipe
        block = f"{recipe.block[0]} x {recipe.block[1]}"
        count = f"{options.eval_scenes} unseen scenes" if self.has_truth else "one scene"
        source = teacher.weights
        assert source is not None
        return [
            ("teacher", f"{options.backbone}, weights {source.kind}, licence {source.licence}"),
            ("data", f"{options.data}, {count}, {options.views} views, {options.size} pixels"),
            ("attention", f"keep {recipe.keep} of blocks of {block}, {recipe.token_order} order"),
            ("linear branch", f"{recipe.feature_map} features over {recipe.linear} keys"),
            ("linear layers", f"FP8 {recipe.fp8}" if recipe.fp8 != "none" else "as in the teacher"),
            ("trained", f"{recipe.trainable}, {result.steps} steps, {result.seconds:.0f} s"),
            ("whole run", f"{seconds:.0f} s on {machine(self.device)}"),
            ("seed", str(options.seed)),
        ]

    def _notes(self) -> list[str]:
        notes = ["The untrained student is the recipe applied to the teacher, without training."]
        if self.device == "cpu" and self.options.recipe.fp8 != "none":
            notes.append(
                "This CPU multiplies no FP8: the student computes in float32 with values rounded "
                "to FP8, so its latency here says nothing about hardware with FP8."
            )
        if not self.has_truth:
            notes.append("There is no ground truth: the student is compared with the teacher.")
        return notes

    def _page(
        self,
        document: Mapping[str, Any],
        student: Student,
        teacher: Backbone,
        shown: Sequence[Scene],
    ) -> Page:
        return Page(
            title=f"{self.options.backbone}: a light student",
            summary=summary(document["rows"]),
            facts=document["facts"],
            rows=document["rows"],
            loss=document["losses"],
            scenes=[scene_figure(scene, self._shown(teacher, student)) for scene in shown],
            notes=document["notes"],
        )

    def _shown(self, teacher: Backbone, student: Student) -> dict[str, Backbone]:
        """Whose depth the page shows; without ground truth the teacher's is the reference."""
        light = {STUDENT: student.backbone}
        return {TEACHER: teacher} | light if self.has_truth else light

    def _show(self, report: Mapping[str, Any]) -> None:
        title = f"{report['facts'][1][1]}"
        self.terminal.result(report, rich_table(report["rows"], title))


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The outcome in one sentence or two."""
    teacher, student = rows[0], rows[-1]
    text = f"Softmax attention sees {student['density']:.1%} of the query-key pairs."
    if teacher["absrel"] and student["absrel"] is not None:
        text += f" Depth error is {student['absrel'] / teacher['absrel']:.3f} times the teacher's"
        points = 100 * (student["auc30"] - teacher["auc30"])
        text += f", AUC@30 {points:+.1f} points."
    return text


def scene_figure(scene: Scene, models: Mapping[str, Backbone]) -> SceneFigure:
    """The first views of a scene with every model's depth, in the unit of the truth."""
    views = slice(0, SHOWN_VIEWS)
    depth = {}
    for label, model in models.items():
        found = predict(model, scene).depth[0].float()
        scale = 1.0
        if scene.depth is not None:
            valid = scene.valid if scene.valid is not None else scene.depth > 0
            scale = float((scene.depth[valid] / found[valid]).median())
        depth[label] = (found[views] * scale).numpy()
    truth = None if scene.depth is None else scene.depth[views].numpy()
    pictures = (scene.images[views].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return SceneFigure(
        name=scene.name,
        images=np.ascontiguousarray(pictures),
        truth=truth,
        depth=depth,
        truth_label="true depth" if TEACHER in models else TEACHER,
    )


def machine(device: str) -> str:
    """What the numbers were measured on, for people."""
    found = environment()
    return (
        str(found["gpu"])
        if device == "cuda"
        else f"{found['processor']}, {found['threads']} threads"
    )
