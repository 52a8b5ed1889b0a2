"""What both models said about one batch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from distill.record.names import closest
from distill.record.pairs import Pair
from distill.record.recorder import Records


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What teacher and student said about one batch.

    - `batch`: the batch, as the source gave it.
    - `outputs`: what `forward(student, batch)` returned; None where the pass ended early.
    - `student`: tensors recorded in the student's modules.
    - `teacher`: tensors recorded in the teacher's modules, without gradient.
    - `student_fields`: output tensors of the student by field name.
    - `teacher_fields`: output tensors of the teacher by field name, without gradient.
    - `local`: losses of `LocalAttention` objectives by name and pair, with gradients that are
      already taken.
    """

    batch: Any
    outputs: Any
    student: Records
    teacher: Records
    student_fields: Mapping[str, Tensor]
    teacher_fields: Mapping[str, Tensor]
    local: Mapping[str, Mapping[Pair, Tensor]] = field(default_factory=dict)


def read_field(outputs: Any, name: str) -> Tensor:
    """Return one tensor of a model's outputs: a mapping's key or an attribute.

    Raises ValueError if there is no such tensor; the message lists the known fields.
    """
    if isinstance(outputs, Mapping):
        value = outputs.get(name)
    else:
        value = None if isinstance(outputs, Tensor) else getattr(outputs, name, None)
    if isinstance(value, Tensor):
        return value
    fields = outputs if isinstance(outputs, Mapping) else _attributes(outputs)
    known = [key for key, other in fields.items() if isinstance(other, Tensor)]
    raise ValueError(
        f"field={name!r}; the outputs ({type(outputs).__name__}) have no such tensor: closest "
        f"are {closest(name, known)}"
    )


def _attributes(outputs: Any) -> dict[str, Any]:
    """What an object holds; a property that fails is none of its fields."""
    found: dict[str, Any] = {}
    for name in [] if isinstance(outputs, Tensor) else dir(outputs):
        if not name.startswith("_"):
            with suppress(Exception):
                found[name] = getattr(outputs, name)
    return found
