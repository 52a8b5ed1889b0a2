"""A task loss of the caller's own, beside distillation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from distill.objectives.base import Observation, check_weight
from distill.pairs import Pair


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Compare the student's outputs with what the batch knows.

    Args:
        loss: `loss(outputs, batch)` returns a scalar tensor.
        weight: Factor in the total loss.
        name: Name in logs.
    """

    loss: Callable[[Any, Any], Tensor]
    weight: float = 1.0
    name: str = "supervised"
    pairs: tuple[Pair, ...] = ()
    fields: tuple[str, ...] = ()
    reads_outputs: bool = True

    def __post_init__(self) -> None:
        check_weight(self.name, self.weight)

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the caller's loss."""
        return self.loss(seen.outputs, seen.batch)
