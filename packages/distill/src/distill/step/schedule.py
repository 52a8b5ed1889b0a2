"""Learning rate as a function of the step alone: nothing to save, nothing to lose."""

import math


def learning_rate_at(
    step: int, *, steps: int, peak: float, warmup_steps: int, final: float
) -> float:
    """Return the learning rate of a step: a linear rise, then a half cosine.

    - `step`: from 0 to `steps` - 1.
    - `steps`: number of steps in the run.
    - `peak`: highest learning rate, reached at the first step after the warm-up.
    - `warmup_steps`: steps of linear rise.
    - `final`: share of `peak` that the cosine approaches at `steps`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)))
