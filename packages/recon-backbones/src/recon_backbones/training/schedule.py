"""How long a training is, how fast it learns, and what each step runs, as data."""

from dataclasses import dataclass

from recon_backbones.training.pupils.pupil import Way

BEGINNER = 60
"""Steps in which a trained transformer does not follow the new probe."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The shape of the learning rate over a run, and the heads that its steps run.

    The rate is `peak` times the full one; it warms up over `warmup` steps, stays, and falls
    linearly to zero over the last `decay` of the run. The run ends after `steps`, or with `minutes`
    when they are over before, annealed whatever was reached.
    Every `dense_every`-th step runs the dense heads, every `posed_every`-th is given the cameras.
    `average` is how much of the running mean of the weights a step keeps.
    Raises ValueError for numbers that no run has.
    """

    steps: int
    minutes: float | None = None
    peak: float = 1.0
    warmup: int = 150
    decay: float = 0.4
    average: float = 0.998
    dense_every: int = 3
    rays_every: int = 6
    posed_every: int = 16
    save_minutes: float = 3.0
    check_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "warmup", "dense_every", "rays_every", "posed_every", "check_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1: raise it")
        if not 0 <= self.average <= 1:
            raise ValueError(f"average={self.average}; it must be in [0, 1]: change it")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes={self.minutes}; it must be above 0: leave it out for steps")
        for name in ("peak", "decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be in (0, 1]: change it")

    def rate(self, step: int, elapsed_minutes: float) -> float:
        """Learning rate of a step, as a fraction of the full one."""
        by_the_clock = 0.0 if self.minutes is None else elapsed_minutes / self.minutes
        left = max(0.0, 1 - max(step / self.steps, by_the_clock))
        return self.peak * min(1.0, (step + 1) / self.warmup, left / self.decay)

    def is_over(self, step: int, elapsed_minutes: float) -> bool:
        """Whether the run ends before this step."""
        late = self.minutes is not None and elapsed_minutes >= self.minutes
        return late or step >= self.steps

    def way(self, step: int, *, trained: bool) -> Way:
        """Which heads a step runs, and whether it is given the cameras.

        - `trained`: whether the run began with trained weights, which a new probe would spoil.
        """
        posed = step % self.posed_every == self.posed_every - 1
        return Way(
            posed=posed,
            dense=posed or step % self.dense_every == 0,
            rays=step % self.rays_every == 0,
            detach=trained and step < BEGINNER,
        )
