"""Teach a student to answer as its teacher does, attention by attention."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import distill
from lite3r.bench.quality import compared
from lite3r.distillation.training import Training
from lite3r.shell.words import Advance, Words
from lite3r.student.recipes import Recipe
from lite3r.student.student import Student
from recon_backbones import AttentionSite, Backbone

RIDGE = 0.01  # keeps solutions small, so that training goes on from them
NEAR = 0.3  # keeps layers near what they were, so that other scenes are answered as before


def teach(
    student: Student,
    teacher: Backbone,
    batches: distill.Batches,
    training: Training,
    *,
    seed: int,
    directory: Path | None = None,
    reporter: distill.Reporter | None = None,
) -> distill.Result | None:
    """Train what the student's recipe trains, in place; None where no step is made.

    - `batches`: gives images `b v 3 y x` by number.
    - `directory`: where log and checkpoints go; a run that is there already is continued.
    """
    sites = [s for s in teacher.attention_sites() if s.scope in student.recipe.scopes]
    begun = directory is not None and distill.has_run(directory)
    with same_token_order(teacher, student.recipe):
        count = training.solved(student.recipe)
        if count and student.recipe.trainable in ("proj", "out") and not begun:
            _solve(student, teacher, batches, sites, count, seed)
        if not training.taught(student.recipe):
            return None
        return distill.distill(
            student.backbone,
            teacher,
            batches,
            pairs=distill.pair_sites(sites) if training.attention_weight else (),
            objectives=_objectives(training, sites),
            config=_config(training.of(student.recipe), teacher, seed),
            forward=compared,
            directory=directory,
            count_images=lambda images: images.shape[0] * images.shape[1],
            reporter=reporter or distill.Quiet(),
        )


@contextmanager
def same_token_order(teacher: Backbone, recipe: Recipe) -> Iterator[None]:
    """Let the teacher keep its tokens in the student's order, so that they can be compared.

    What the teacher puts out does not depend on the order.
    """
    teacher.set_token_order(recipe.token_order)
    try:
        yield
    finally:
        teacher.set_token_order("raster")


class Watched(distill.Quiet):
    """Tells how distillation goes on, by the callables that it is given."""

    def __init__(self, words: Words, advance: Advance) -> None:
        self._words, self._advance = words, advance

    def started(self, start: distill.Start) -> None:
        """Say where a resumed run goes on."""
        if start.step:
            self._words.say(f"resumed after step {start.step}")
            self._advance(to=start.step)

    def stepped(self, record: distill.StepRecord) -> None:
        """Move the bar."""
        self._advance(to=record.step, note=f"loss {record.losses['loss']:.3g}")

    def warned(self, text: str) -> None:
        """Repeat the warning."""
        self._words.say(text)


def _objectives(training: Training, sites: Sequence[AttentionSite]) -> list[distill.Objective]:
    found: list[distill.Objective] = []
    if weight := training.attention_weight:
        found.append(distill.AttentionOutputs(loss="relative_mse", weight=weight))
    if training.match == "cameras":
        blocks = [site.name.rpartition(".")[0] for site in sites]
        pairs = tuple(distill.Pair(teacher=block, student=block) for block in blocks)
        found.append(distill.CameraTokens(pairs=pairs, loss="relative_mse"))
    if training.match != "attention":
        found += [distill.Depth(weight=2.0), distill.Pose(weight=5.0)]
    return found


def _solve(
    student: Student,
    teacher: Backbone,
    batches: distill.Batches,
    sites: Sequence[AttentionSite],
    count: int,
    seed: int,
) -> None:
    """Set every layer to the least-squares solution on some batches, one after another."""
    last = student.recipe.trainable == "out"
    part, name = ("", "proj") if last else (".core", "proj_l")
    fits = [
        distill.Fit(pair=pair, layer=f"{pair.student}.{name}")
        for pair in distill.pair_sites(sites, suffix=part)
    ]
    distill.fit_projections(
        student.backbone,
        teacher,
        batches,
        fits,
        count=count,
        ridge=NEAR if last else RIDGE,
        start="as_is" if last else "zero",
        seed=seed,
        forward=compared,
    )


def _config(training: Training, teacher: Backbone, seed: int) -> distill.DistillConfig:
    assert training.steps is not None and training.learning_rate is not None
    sites = (s for s in teacher.attention_sites() if s.scope != "camera")
    blocks = tuple(site.name.rpartition(".")[0] for site in sites)
    return distill.DistillConfig(
        steps=training.steps,
        learning_rate=training.learning_rate,
        warmup_steps=min(5, training.steps // 10),
        ema_decay=training.ema_decay,
        accumulation=training.accumulation,
        checkpoint_every=training.checkpoint_every,
        checkpoint_activations=blocks if training.recompute else (),
        run_until="last_pair" if training.match == "attention" else "end",
        seed=seed,
    )
