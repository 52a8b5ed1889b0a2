"""The shape of an objective, and what it gets to see."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from distill.losses import check_alike
from distill.pairs import Pair, closest
from distill.record import Records


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What teacher and student said about one batch.

    Attributes:
        batch: The batch, as the source gave it.
        outputs: What `forward(student, batch)` returned; None where the pass ended early.
        student: Tensors recorded in the student's modules.
        teacher: Tensors recorded in the teacher's modules, without gradient.
        student_fields: Output tensors of the student by field name.
        teacher_fields: Output tensors of the teacher by field name, without gradient.
        local: Losses of `LocalAttention` objectives by name and pair, with gradients that are
            already taken.
    """

    batch: Any
    outputs: Any
    student: Records
    teacher: Records
    student_fields: Mapping[str, Tensor]
    teacher_fields: Mapping[str, Tensor]
    local: Mapping[str, Mapping[Pair, Tensor]] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """A term of the loss; a frozen dataclass, so that a run can name its settings."""

    @property
    def name(self) -> str:
        """Name in logs, unique in a run."""
        ...

    @property
    def weight(self) -> float:
        """Factor of this term in the total loss."""
        ...

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Modules that must be recorded for it."""
        ...

    @property
    def fields(self) -> tuple[str, ...]:
        """Output tensors of teacher and student that it reads."""
        ...

    @property
    def reads_outputs(self) -> bool:
        """Whether it needs the student's pass to run to its end."""
        ...

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the unweighted loss."""
        ...


def read_field(outputs: Any, name: str) -> Tensor:
    """Return one tensor of a model's outputs: a mapping's key or an attribute.

    Raises:
        ValueError: There is no such tensor; the message lists the known fields.
    """
    fields = outputs if isinstance(outputs, Mapping) else _attributes(outputs)
    value = fields.get(name)
    if isinstance(value, Tensor):
        return value
    known = [key for key, other in fields.items() if isinstance(other, Tensor)]
    raise ValueError(
        f"The outputs ({type(outputs).__name__}) have no tensor {name!r}. "
        f"Closest fields: {closest(name, known)}."
    )


def check_weight(name: str, weight: float) -> None:
    """Raise ValueError unless an objective's weight is positive."""
    if not weight > 0:
        raise ValueError(f"The weight of objective {name!r} is {weight}, must be positive.")


@dataclass(frozen=True, kw_only=True)
class FieldObjective:
    """The frame of an objective that compares one output of student and teacher.

    Args:
        field: Name of the output.
        weight: Factor in the total loss.
        name: Name in logs.
    """

    field: str
    weight: float = 1.0
    name: str
    pairs: tuple[Pair, ...] = ()
    reads_outputs: bool = True

    def __post_init__(self) -> None:
        check_weight(self.name, self.weight)

    @property
    def fields(self) -> tuple[str, ...]:
        """The outputs to read."""
        return (self.field,)

    def both(self, seen: Observation) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Return the student's output and the teacher's, in one number format.

        Raises:
            ValueError: Their shapes differ.
        """
        return check_alike(seen.student_fields[self.field], seen.teacher_fields[self.field])


def _attributes(outputs: Any) -> dict[str, Any]:
    names = [name for name in dir(outputs) if not name.startswith("_")]
    if isinstance(outputs, Tensor):
        return {}
    return {name: getattr(outputs, name) for name in names}
