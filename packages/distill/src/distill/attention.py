"""Partial attention distillation, for a training loop of one's own."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.losses import LossName, find_loss
from distill.pairs import Pair, Tap
from distill.record import Recorder, Records


class AttentionDistillation:
    """A context manager that compares paired modules of two models.

    Inside the block, run each model in its own pass and read the loss; the hooks are gone
    afterwards, also after an exception.

    Args:
        teacher: The model to imitate.
        student: The model that learns.
        pairs: Which modules to compare; at least one.
        loss: "mse", "relative_mse" or "cosine", see `distill.losses`.

    Raises:
        ValueError: A pair names no module (the closest names are offered), there are no
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
            raise ValueError("There are no pairs: attention distillation needs at least one.")
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

        Raises:
            ValueError: A module did not run in its pass, or the tensors of a pair differ in
                number or shape.
        """
        return pair_losses(self.pairs, self._loss, self._student.take(), self._teacher.take())

    def loss(self) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs, and forget the recorded tensors."""
        return weighted_mean(self.losses())


def pair_losses(
    pairs: Iterable[Pair], loss: LossName, student: Records, teacher: Records
) -> dict[Pair, Float[Tensor, ""]]:
    """Return the unweighted loss of every pair from recorded tensors.

    A module that runs several times in a pass is compared call by call; the mean counts.
    """
    compare = find_loss(loss)
    losses = {}
    for pair in pairs:
        seen = _tensors(student, pair.student_tap)
        aims = _tensors(teacher, pair.teacher_tap)
        _check(pair, seen, aims)
        each = [compare(one, other) for one, other in zip(seen, aims, strict=True)]
        losses[pair] = each[0] if len(each) == 1 else torch.stack(each).mean()
    return losses


def weighted_mean(losses: Mapping[Pair, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Return the mean of the losses, each with the weight of its pair."""
    total = sum(pair.weight for pair in losses)
    return torch.stack([loss * (pair.weight / total) for pair, loss in losses.items()]).sum()


def _tensors(records: Records, tap: Tap) -> list[Tensor]:
    if tap not in records:
        raise ValueError(f"Nothing was recorded for module {tap.module!r}.")
    return records[tap]


def _check(pair: Pair, student: list[Tensor], teacher: list[Tensor]) -> None:
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (teacher, student)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The {pair.at}s of a pair differ: teacher {pair.teacher!r} gave shapes {shapes[0]}, "
            f"student {pair.student!r} gave {shapes[1]} (one shape for each call). Pair modules "
            "that put out the same."
        )
