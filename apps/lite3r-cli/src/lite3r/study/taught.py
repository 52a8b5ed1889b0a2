"""Rows of a study that train: each is taught once, kept in a folder, and loaded from there."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import distill
import fp8_qat
import sla_kernels
from distill.training import Match, Training
from lite3r.distillation.data import VISITS, scenes_to_learn_from
from lite3r.distillation.teach import Watched, teach
from lite3r.shell.words import Words
from lite3r.student.axes import Calibrate
from lite3r.student.compose import lighten, quantize
from lite3r.student.deploy import deploy, load
from lite3r.student.files import CONFIG
from lite3r.student.kinds import Fp8, Trainable
from lite3r.student.recipes import Recipe, balanced, fast, sparse_only, tiles
from lite3r.student.student import Student
from lite3r.study.candidates import PAPER
from recon_backbones import Backbone, weights_digest
from recon_eval.data import lesson_scenes

USUAL = Training()


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a row is taught, and what becomes of it afterwards.

    - `recipe`: what trains, and the FP8 layers that training sees.
    - `views`: of the drawn scenes that it is taught on.
    - `fp8_after`: what its layers are rounded to once it is trained, where training saw none.
    - `backend`: what multiplies FP8 layers: "reference" rounds activations too.
    """

    recipe: Recipe
    training: Training = USUAL
    views: int = 8
    fp8_after: Fp8 = "none"
    backend: Literal["weight_only", "reference"] = "weight_only"

    @property
    def steps(self) -> int:
        """How many steps are made."""
        return self.training.taught(self.recipe.trainable)


def _sixteen(
    trainable: Trainable, match: Match = "cameras", *, weight: float = 1.0, fp8: Fp8 = "none"
) -> Lesson:
    """16 exact blocks, trained gently towards some targets, with averaged weights."""
    training = Training(match=match, ema_decay=0.97, attention_weight=weight)
    return Lesson(
        recipe=replace(sparse_only(), keep=16, trainable=trainable, fp8=fp8), training=training
    )


TAUGHT = {
    "16 blocks, out": _sixteen("out"),
    "16 blocks, lora": _sixteen("lora"),
    "16 blocks, attn": _sixteen("attn"),
    "16 blocks, all": _sixteen("all"),
    "tiles of 16, proj": Lesson(recipe=replace(tiles(), fp8="none")),
    "16 blocks, lora, towards attention": _sixteen("lora", "attention"),
    **{
        f"16 blocks, lora, attention by {weight:g}": _sixteen("lora", "outputs", weight=weight)
        for weight in (0.0, 0.1, 1.0)
    },
    "16 blocks, attn, then W8A8": replace(
        _sixteen("attn"), fp8_after="rowwise", backend="reference"
    ),
    "16 blocks, attn in W8A8": replace(_sixteen("attn", fp8="rowwise"), backend="reference"),
    "paper's set-up": Lesson(
        recipe=PAPER,
        training=Training(steps=124, learning_rate=1e-3, match="outputs", attention_weight=0.1),
        views=2,
    ),
    **{
        f"{keep} blocks, gains in FP8": Lesson(recipe=replace(made(), trainable="gains"))
        for keep, made in ((64, balanced), (32, fast))
    },
}
"""The paper's set-up: its operator, projections alone, pairs of views, an epoch of its steps, its
rate and its weight of attention; the teacher's depth and cameras stand where it has labels."""


def taught(
    teacher: Backbone,
    name: str,
    lesson: Lesson,
    *,
    seen: Calibrate,
    folder: Path,
    size: int,
    seed: int,
    words: Words,
) -> Backbone:
    """The network of a lesson: taught now, or read from the folder where it was kept.

    - `seen`: what orders are calibrated on; `folder`: of all taught rows.
    """
    kept = folder / _key(teacher, lesson, size, seed)
    if not (kept / CONFIG).is_file():
        student = lighten(teacher, lesson.recipe, calibrate=seen)
        with words.progress(f"teaching {name}", lesson.steps) as advance:
            watched = Watched(words, advance)
            _teach(student, teacher, lesson, kept / "training", size, seed, watched)
        student.save(kept)
        shutil.rmtree(kept / "training", ignore_errors=True)
    student = load(kept, device=str(next(teacher.parameters()).device), backend=None)
    light = deploy(student, backend=lesson.backend, precision="float32").backbone
    sla_kernels.attend_all_below(light, 0)  # what is judged is the attention that was taught
    if lesson.fp8_after != "none":
        quantize(light.requires_grad_(False), replace(lesson.recipe, fp8=lesson.fp8_after))
        fp8_qat.convert(light, backend=lesson.backend)
    return light.eval()


def _teach(
    student: Student,
    teacher: Backbone,
    lesson: Lesson,
    folder: Path,
    size: int,
    seed: int,
    watched: Watched,
) -> None:
    trainable, solved = lesson.recipe.trainable, lesson.training.solved(lesson.recipe.trainable)
    count = scenes_to_learn_from(max(lesson.steps, VISITS * solved))
    wide = trainable == "gains"  # as `lite3r distill` does
    scenes = lesson_scenes(count=count, views=lesson.views, size=size, seed=seed, wide=wide)
    images = distill.Views(lambda number: scenes[number].images, count=count)
    result = teach(
        student, teacher, images, lesson.training, seed=seed, directory=folder, reporter=watched
    )
    if result is not None and result.told_to_stop:
        raise KeyboardInterrupt(result.signal)


def _key(teacher: Backbone, lesson: Lesson, size: int, seed: int) -> str:
    """One name for all that the weights depend on; rows that differ afterwards share it."""
    made = [lesson.recipe.to_dict(), asdict(lesson.training), lesson.views, size, seed]
    text = json.dumps([*made, weights_digest(teacher)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
