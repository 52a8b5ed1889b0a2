"""Partial attention distillation, for a training loop of one's own."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.record.comparison import pair_losses, weighted_mean
from distill.record.losses import LossName, find_loss
from distill.record.pairs import Pair
from distill.record.recorder import Recorder


class AttentionDistillation:
    """A context manager that compares paired modules of two models.

    Inside the block, run each model in its own pass and read the loss; the hooks are gone
    afterwards, also after an exception.

    - `teacher`: the model to imitate.
    - `student`: the model that learns.
    - `pairs`: which modules to compare; at least one.
    - `loss`: "mse", "relative_mse", "cosine" or "distance", see `distill.record.losses`.

    Raises ValueError if a pair names no module (the closest names are offered), there are no
    pairs, or the loss is unknown.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        pairs: Iterable[Pair],
        loss: LossName = "mse",
    ) -> None:
        self.pairs = tuple(pairs)
        if not self.pairs:
            raise ValueError("pairs=(); attention distillation needs at least one: give pairs")
        find_loss(loss)
        self._loss: LossName = loss
        self._teacher = Recorder(teacher, [pair.teacher_tap for pair in self.pairs], "teacher")
        self._student = Recorder(student, [pair.student_tap for pair in self.pairs], "student")

    def __enter__(self) -> "AttentionDistillation":
        self._teacher.__enter__()
        self._student.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._student.__exit__(kind, error, trace)
        self._teacher.__exit__(kind, error, trace)

    @contextmanager
    def teacher_pass(self) -> Iterator[None]:
        """Record the teacher, without gradients, while this block runs."""
        with torch.no_grad(), self._teacher.recording():
            yield

    @contextmanager
    def student_pass(self) -> Iterator[None]:
        """Record the student while this block runs."""
        with self._student.recording():
            yield

    def losses(self) -> dict[Pair, Float[Tensor, ""]]:
        """Return the loss of every pair, unweighted, and forget the recorded tensors.

        Raises ValueError if a module did not run in its pass, or the tensors of a pair differ in
        number or shape.
        """
        return pair_losses(self.pairs, self._loss, self._student.take(), self._teacher.take())

    def loss(self) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs, and forget the recorded tensors."""
        return weighted_mean(self.losses())
