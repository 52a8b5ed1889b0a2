"""Notice updates that would break the student."""

import math
import statistics
from collections.abc import Sequence

from distill.config import GuardConfig


class Diverged(RuntimeError):
    """Training broke again after every allowed rollback."""


def find_fault(
    config: GuardConfig, recent: Sequence[float], loss: float, gradient_norm: float
) -> str | None:
    """Return what is wrong with an update, or None.

    Args:
        config: The thresholds.
        recent: Losses of the last good steps, oldest first.
        loss: Loss of this step.
        gradient_norm: Norm of this step's gradient before clipping.
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
