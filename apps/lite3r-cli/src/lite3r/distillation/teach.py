"""Teach a student to answer as its teacher does: the attentions that its recipe made sparse."""

from pathlib import Path

import distill
from lite3r.bench.quality import compared
from lite3r.shell.words import Advance, Words
from lite3r.student.student import Student
from recon_backbones import Backbone


def teach(
    student: Student,
    teacher: Backbone,
    batches: distill.Batches,
    training: distill.Training,
    *,
    seed: int,
    directory: Path | None = None,
    reporter: distill.Reporter | None = None,
) -> distill.Result | None:
    """Train what the student's recipe trains, in place, as `distill.teach` does."""
    recipe, sites = student.recipe, teacher.attention_sites()
    with teacher.in_token_order(recipe.token_order):  # as the student's
        return distill.teach(
            student.backbone,
            teacher,
            batches,
            training,
            trainable=recipe.trainable,
            sites=[s for s in sites if s.scope in recipe.scopes],
            blocks=[s.name.rpartition(".")[0] for s in sites if s.scope != "camera"],
            forward=compared,
            seed=seed,
            directory=directory,
            reporter=reporter,
        )


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
