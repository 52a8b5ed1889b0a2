"""How a student is taught, as one value."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from distill.record.settings import check_choice, check_number

Match = Literal["attention", "outputs", "cameras", "tokens"]
STEPS, SOLVED = 80, 12
SOLVABLE = ("proj", "out")
RATES = {"proj": 1e-3, "gains": 3e-4}  # of what else trains: GENTLE
LONGER, AVERAGED = 160, 0.97  # steps and averaging of gains
GENTLE = 1e-4  # an untrained student is near: larger steps lead away


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a student is taught to answer as its teacher does; see `teach`.

    Raises ValueError for numbers that no training has.
    """

    steps: int | None = None
    """Optimizer steps; 80, 160 for gains, or 0 for a recipe that trains nothing or solves instead
    (out)."""
    learning_rate: float | None = None
    """Highest learning rate of AdamW; 0.001 for projections alone, 0.0003 for gains, 0.0001 for
    more."""
    ema_decay: float | None = None
    """Decay of averaged weights, which the student then ends with; 0.97 for gains, others are not
    averaged unless it is given."""
    accumulation: int = 1
    """Scenes in one step."""
    checkpoint_every: int = 10
    """Steps between checkpoints."""
    match: Match | None = None
    """What the student is asked to match: the outputs of attention, or depth and cameras too
    (outputs), or the camera tokens besides (cameras); or all tokens after the blocks around these
    attentions, camera tokens as much as the others together (tokens), which is what gains are
    asked for. Attention unless given."""
    attention_weight: float = 1.0
    """Weight of the outputs of attention beside depth and cameras; 0 leaves them out. The paper
    weighs them by 0.1 beside its labels."""
    solve_batches: int | None = None
    """Scenes on which projections (proj) or last layers (out) are solved for, by least squares,
    before the first step; 12 for out, else none."""
    recompute: bool = False
    """Recompute activations in backward instead of keeping them: less memory, more time."""

    def __post_init__(self) -> None:
        for name in ("steps", "solve_batches"):
            check_number(name, getattr(self, name), whole=True, none=True)
        for name in ("accumulation", "checkpoint_every"):
            check_number(name, getattr(self, name), whole=True)
        for name in ("learning_rate", "ema_decay"):
            check_number(name, getattr(self, name), none=True)
        check_number("attention_weight", self.attention_weight)
        if self.match is not None:
            check_choice("match", self.match, get_args(Match))
        if self.steps is not None and self.steps < 0:
            raise ValueError(f"steps={self.steps}; it must be at least 0: 0 trains nothing")
        for name in ("accumulation", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}={getattr(self, name)}; it must be at least 1: leave it out for "
                    "the usual number"
                )
        weight, alone = self.attention_weight, self.match == "attention"
        if not (weight > 0 or (weight == 0 and not alone)):
            raise ValueError(
                f"attention_weight={weight} with match={self.match}; it must be positive, or 0 "
                "where something else is matched: match=outputs"
            )
        if self.solve_batches is not None and self.solve_batches < 0:
            raise ValueError(
                f"solve_batches={self.solve_batches}; it must be at least 0: pass 0 to solve "
                "for nothing"
            )
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(
                f"learning_rate={self.learning_rate}; it must be positive: leave it out for "
                "the usual one"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay}; it must be in (0, 1): 0.97 is usual")

    def of(self, trainable: str) -> "Training":
        """The same with every number filled in for what trains: a preset of `train_only`, or none.

        Raises ValueError for steps where nothing trains, for what has no effect, and as `solved`
        does.
        """
        if trainable == "none" and self.steps:
            raise ValueError(
                f"steps={self.steps} with trainable=none; something must train: add "
                "trainable=lora, gains, attn or all"
            )
        made = self._filled(trainable)
        if trainable == "none" or (self.steps is None and not made.steps):
            made._check_idle(trainable)
        if made.match == "tokens" and made.attention_weight not in (0, 1):
            raise ValueError(
                f"attention_weight={made.attention_weight} with match=tokens; outputs of attention "
                "must be matched too: take match=outputs, or leave it out"
            )
        return made

    def _filled(self, trainable: str) -> "Training":
        return replace(
            self,
            steps=self.taught(trainable),
            learning_rate=self.learning_rate or RATES.get(trainable, GENTLE),
            ema_decay=self.ema_decay or (AVERAGED if trainable == "gains" else None),
            match=self.match or ("tokens" if trainable == "gains" else "attention"),
            solve_batches=self.solved(trainable),
        )

    def _check_idle(self, trainable: str) -> None:
        """Raise ValueError for the first field that says how steps are made, where none is."""
        usual = Training(steps=self.steps, solve_batches=self.solve_batches)._filled(trainable)
        for name, value in vars(self).items():
            if value != getattr(usual, name):
                raise ValueError(
                    f"{name}={value} with trainable={trainable}; steps must be made for it to have "
                    "an effect: leave it out, or take trainable=lora, gains, attn or all"
                )

    def taught(self, trainable: str) -> int:
        """How many steps are made."""
        if self.steps is not None:
            return self.steps
        if trainable == "gains":
            return LONGER
        return 0 if trainable in ("none", "out") else STEPS

    def solved(self, trainable: str) -> int:
        """On how many scenes layers are solved for.

        Raises ValueError for scenes where no layer is.
        """
        if self.solve_batches and trainable not in SOLVABLE:
            raise ValueError(
                f"solve_batches={self.solve_batches} with trainable={trainable}; layers are solved "
                f"for where {' or '.join(SOLVABLE)} trains: leave solve_batches out"
            )
        if self.solve_batches is not None:
            return self.solve_batches
        return SOLVED if trainable == "out" else 0
