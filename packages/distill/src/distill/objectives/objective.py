"""The shape of an objective, and two frames that most of them fill."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from distill.observe.observation import Observation
from distill.observe.reading import Reading
from distill.record.checks import check_tensor
from distill.record.losses import LossName, check_alike, find_loss
from distill.record.pairs import Pair
from distill.record.settings import check_number


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """A term of the loss; a frozen dataclass, so that a run can name its settings.

    - `name`: in logs, unique in a run.
    - `weight`: factor of this term in the total loss.

    Raises ValueError if the weight is not positive.
    """

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_number("weight", self.weight)
        if not self.weight > 0:
            raise ValueError(
                f"weight={self.weight!r}; objective {self.name!r} needs a positive weight: to "
                "do without it, leave it out"
            )

    @abstractmethod
    def attach(self, reading: Reading) -> None:
        """Ask for what this objective reads in the two models."""

    @abstractmethod
    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the unweighted loss."""

    def with_pairs(self, pairs: tuple[Pair, ...]) -> "Objective":
        """Return this objective on the pairs that `distill` was given, where it uses them."""
        return self


@dataclass(frozen=True, kw_only=True)
class PairObjective(Objective):
    """The frame of an objective that compares paired modules.

    - `pairs`: which modules; empty stands for the pairs given to `distill`.
    - `loss`: "mse", "relative_mse", "cosine" or "distance", see `distill.record.losses`.

    Raises ValueError if the loss is unknown or the weight is not positive.
    """

    pairs: tuple[Pair, ...] = field(default_factory=tuple)
    loss: LossName = "relative_mse"

    def __post_init__(self) -> None:
        super().__post_init__()
        find_loss(self.loss)

    def attach(self, reading: Reading) -> None:
        """Ask for the paired modules."""
        reading.record(self.pairs)

    def with_pairs(self, pairs: tuple[Pair, ...]) -> "Objective":
        """Return this objective with the given pairs, where it has none.

        Raises ValueError if there are none either.
        """
        if self.pairs:
            return self
        if not pairs:
            raise ValueError(
                f"pairs=(); objective {self.name!r} needs at least one: give `pairs`, or leave "
                "the objective out"
            )
        return replace(self, pairs=pairs)


@dataclass(frozen=True, kw_only=True)
class FieldObjective(Objective):
    """The frame of an objective that compares one output of student and teacher.

    - `field`: name of the output.
    """

    field: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The outputs to read."""
        return (self.field,)

    def attach(self, reading: Reading) -> None:
        """Ask for the outputs."""
        reading.read(self.name, self.fields)

    def both(self, seen: Observation) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Return the student's output and the teacher's, in one number format.

        Raises ValueError if their shapes differ.
        """
        return check_alike(seen.student_fields[self.field], seen.teacher_fields[self.field])


def reading_of(objectives: Sequence[Objective]) -> Reading:
    """Return what all objectives ask for."""
    reading = Reading()
    for objective in objectives:
        objective.attach(reading)
    return reading


def measure(objectives: Sequence[Objective], seen: Observation) -> dict[str, Float[Tensor, ""]]:
    """Return the unweighted loss of every objective, and their weighted sum as "loss".

    Raises ValueError, or TypeError for no tensor, for a loss that is not one number.
    """
    losses = {o.name: check_tensor(f"loss of {o.name}", o(seen)) for o in objectives}
    for name, loss in losses.items():
        if loss.ndim:
            raise ValueError(
                f"loss of {name}=tensor of shape {tuple(loss.shape)}; it must be one number, of "
                "shape (): return its mean"
            )
    total = torch.stack([o.weight * losses[o.name].float() for o in objectives]).sum()
    return {"loss": total} | losses
