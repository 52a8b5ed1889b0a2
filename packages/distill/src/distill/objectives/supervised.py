"""A task loss of the caller's own, beside distillation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from distill.objectives.objective import Objective
from distill.observe.observation import Observation
from distill.observe.reading import Reading


@dataclass(frozen=True, kw_only=True)
class Supervised(Objective):
    """Compare the student's outputs with what the batch knows.

    - `loss`: `loss(outputs, batch)` returns a scalar tensor.
    - `weight`: factor in the total loss.
    - `name`: name in logs.
    """

    loss: Callable[[Any, Any], Tensor]
    name: str = "supervised"

    def attach(self, reading: Reading) -> None:
        """Ask for the student's outputs."""
        reading.read(self.name)

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the caller's loss."""
        return self.loss(seen.outputs, seen.batch)
