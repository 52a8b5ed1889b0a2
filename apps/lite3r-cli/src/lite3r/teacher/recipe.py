"""The recipe of the bundled teacher, as data."""

from dataclasses import dataclass

from recon_backbones.training import PATCH
from recon_eval.synthetic import Batch


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """Batches in a cycle, and the shape of the learning rate over the run.

    Each scene is shown twice, a cycle apart. `world` is the share of scenes from `SyntheticWorld`,
    the others are rooms of `SyntheticScenes`. The rate is `peak` times the full one; it warms up
    over `warmup` steps, stays, and falls linearly to zero over the last `decay` of the run. The run
    ends after `steps`, or with `minutes` when they are over, annealed whatever was reached.
    Every `dense_every`-th step runs the dense heads, every `posed_every`-th is given the cameras.
    """

    cycle: tuple[Batch, ...]
    steps: int
    minutes: float | None = None
    world: float = 0.5
    peak: float = 1.0
    warmup: int = 150
    decay: float = 0.4
    average: float = 0.998
    dense_every: int = 3
    rays_every: int = 12
    posed_every: int = 16
    save_minutes: float = 3.0
    check_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.cycle:
            raise ValueError("cycle=(); it must hold a batch: add one")
        for side in (side for batch in self.cycle for side in (batch.height, batch.width)):
            if side % PATCH:
                raise ValueError(
                    f"cycle={side} pixels; sides must be multiples of {PATCH}: round them"
                )
        for name in ("steps", "warmup", "dense_every", "rays_every", "posed_every", "check_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1: raise it")
        for name in ("world", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be in [0, 1]: change it")
        for name in ("peak", "decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be in (0, 1]: change it")

    def batch(self, step: int) -> Batch:
        """What a step sees."""
        return self.cycle[step % len(self.cycle)]

    def rate(self, step: int, elapsed_minutes: float) -> float:
        """Learning rate of a step, as a fraction of the full one."""
        done = step / self.steps if self.minutes is None else elapsed_minutes / self.minutes
        left = max(0.0, 1 - done)
        return self.peak * min(1.0, (step + 1) / self.warmup, left / self.decay)

    def is_over(self, step: int, elapsed_minutes: float) -> bool:
        """Whether the run ends before this step."""
        late = self.minutes is not None and elapsed_minutes >= self.minutes
        return late or step >= self.steps


SQUARE = tuple(
    Batch(height=224, width=224, views=views, scenes=scenes)
    for views, scenes in ((8, 1), (4, 2), (2, 4), (8, 1), (4, 2), (8, 1))
)
"""The size that the model is used and measured at."""
OTHERS = (
    Batch(height=182, width=280, views=4, scenes=2),
    Batch(height=280, width=182, views=4, scenes=2),
    Batch(height=112, width=112, views=8, scenes=4),
    Batch(height=154, width=224, views=8, scenes=1),
    Batch(height=224, width=154, views=4, scenes=2),
    Batch(height=336, width=336, views=4, scenes=1),
    Batch(height=196, width=252, views=8, scenes=1),
    Batch(height=182, width=280, views=8, scenes=1),
    Batch(height=112, width=112, views=16, scenes=2),
    Batch(height=168, width=308, views=4, scenes=2),
    Batch(height=448, width=448, views=2, scenes=1),
    Batch(height=224, width=224, views=16, scenes=1),
    Batch(height=252, width=196, views=4, scenes=2),
    Batch(height=336, width=504, views=2, scenes=1),
    Batch(height=504, width=336, views=2, scenes=1),
    Batch(height=112, width=112, views=32, scenes=1),
)
"""Other sizes, shapes and numbers of views, at about the same number of patches."""


def mixed_cycle() -> tuple[Batch, ...]:
    """Two square batches of the usual size, one of another, and so on."""
    return tuple(
        batch
        for turn, other in enumerate(OTHERS)
        for batch in (SQUARE[2 * turn % 6], SQUARE[(2 * turn + 1) % 6], other)
    )


def small_cycle() -> tuple[Batch, ...]:
    """112 pixels alone, where steps are cheap: the start of a training from nothing."""
    return tuple(
        Batch(height=112, width=112, views=views, scenes=24 // views)
        for views in (2, 4, 3, 4, 1, 6, 2, 4, 3, 4, 2, 6)
    )


def larger(cycle: tuple[Batch, ...], times: int) -> tuple[Batch, ...]:
    """The same cycle with so many times the scenes in each step, for a faster device."""
    return tuple(
        Batch(height=b.height, width=b.width, views=b.views, scenes=b.scenes * times) for b in cycle
    )
