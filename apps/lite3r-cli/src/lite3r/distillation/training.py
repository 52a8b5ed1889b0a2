"""How a student is taught, as one value."""

from dataclasses import dataclass
from typing import Literal

Match = Literal["attention", "outputs"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a student is taught to answer as its teacher does."""

    steps: int = 80
    """Optimizer steps."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW."""
    accumulation: int = 1
    """Scenes in one step."""
    checkpoint_every: int = 10
    """Steps between checkpoints."""
    match: Match = "attention"
    """What the student is asked to match: the outputs of attention, or depth and cameras too."""
    solve_batches: int = 0
    """Scenes on which projections are solved for, by least squares, before the first step."""
    recompute: bool = False
    """Recompute activations in backward instead of keeping them: less memory, more time."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulation", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
        if self.solve_batches < 0:
            raise ValueError(f"solve_batches={self.solve_batches}; it must be at least 0")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}; it must be positive")
