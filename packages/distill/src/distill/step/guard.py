"""Notice updates that would break the student."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from distill.record.settings import check_number, make_plain


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """When an update counts as broken, and how often that is forgiven.

    - `spike`: a loss this many times the median of recent losses is a spike.
    - `history`: number of recent losses in that median; no spike is seen before a quarter.
    - `max_rollbacks`: rollbacks to the same snapshot before the run stops.

    Raises ValueError if a value is out of its range.
    """

    spike: float = 20.0
    history: int = 64
    max_rollbacks: int = 3

    def __post_init__(self) -> None:
        check_number("spike", self.spike)
        for name in ("history", "max_rollbacks"):
            check_number(name, getattr(self, name), whole=True)
        make_plain(self)
        for name, holds, rule in (
            ("spike", self.spike > 1, "must be above 1"),
            ("history", self.history >= 4, "must be at least 4"),
            ("max_rollbacks", self.max_rollbacks >= 1, "must be at least 1"),
        ):
            if not holds:
                value = getattr(self, name)
                raise ValueError(f"{name}={value!r}; it {rule}: to do without, set guard=None")


class Diverged(RuntimeError):
    """Training broke again after every allowed rollback."""


def find_fault(
    config: GuardConfig, recent: Sequence[float], loss: float, gradient_norm: float
) -> str | None:
    """Return what is wrong with an update, or None.

    - `config`: the thresholds.
    - `recent`: losses of the last good steps, oldest first.
    - `loss`: loss of this step.
    - `gradient_norm`: norm of this step's gradient before clipping.
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(gradient_norm):
        return f"the gradient norm is {gradient_norm}"
    if len(recent) < config.history // 4:
        return None
    usual = statistics.median(recent)
    if 0 < usual * config.spike < loss:
        return f"the loss {loss:.4g} is {loss / usual:.0f} times the recent median {usual:.4g}"
    return None
