"""The recipe of the bundled teacher, as data."""

from dataclasses import dataclass

from .shards import ShardConfig


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training at one image size.

    Every process takes `views_per_process` views a step, as scenes of `views_cycle[step]` views.
    Every `dense_every`-th step runs the dense heads.
    """

    steps: int
    shards: ShardConfig
    views_per_process: int
    views_cycle: tuple[int, ...]
    dense_every: int

    def __post_init__(self) -> None:
        for views in self.views_cycle:
            if views > self.shards.views or self.views_per_process % views:
                raise ValueError(
                    f"views_cycle holds {views}: it must divide views_per_process "
                    f"({self.views_per_process}) and be at most {self.shards.views}"
                )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Phases, and the shape of the learning rate over all of their steps.

    The rate warms up, stays, and falls linearly to zero over the last `decay` fraction of all
    steps. Longer phases therefore continue a shorter run, as long as its decay had not begun.
    """

    phases: tuple[Phase, ...]
    warmup: int = 150
    decay: float = 0.4
    posed_every: int = 16
    save_every: int = 200
    check_every: int = 500
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise ValueError(f"step {step} lies beyond the {self.steps} steps of this recipe")

    def rate(self, step: int) -> float:
        """Learning rate of a step, as a fraction of the peak."""
        left = (self.steps - step) / (self.decay * self.steps)
        return min(1.0, (step + 1) / self.warmup, left)


def da3_tiny_recipe(*, small_steps: int = 3800, large_steps: int = 500) -> PretrainConfig:
    """Mostly 112 px, where steps are cheap; the end at 224 px, where the model is used."""
    return PretrainConfig(
        phases=(
            Phase(
                steps=small_steps,
                shards=ShardConfig(scenes=9000, views=6, size=112),
                views_per_process=24,
                views_cycle=(2, 4, 3, 4, 1, 6, 2, 4, 3, 4, 2, 6),
                dense_every=5,
            ),
            Phase(
                steps=large_steps,
                shards=ShardConfig(scenes=2000, views=4, size=224),
                views_per_process=8,
                views_cycle=(2, 4, 2, 4, 1, 4),
                dense_every=2,
            ),
        )
    )
