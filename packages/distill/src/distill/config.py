"""The settings of a run, checked when they are made."""

from dataclasses import dataclass, field
from typing import Literal

from distill.observe.observer import Autocast
from distill.record.settings import check_choice, check_number, make_plain
from distill.step.guard import GuardConfig


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """How to train. Steps are optimizer steps.

    - `steps`: number of optimizer steps in the whole run.
    - `learning_rate`: highest learning rate of AdamW.
    - `final_learning_rate`: share of `learning_rate` left at the end of the cosine, 0 to 1.
    - `warmup_steps`: steps of linear rise at the start.
    - `weight_decay`: for parameters with two or more axes; others have none.
    - `betas`: decay of AdamW's two moments.
    - `clip_norm`: largest norm of the gradient of all trained parameters; None for no limit.
    - `accumulation`: batches in one step, over all processes together.
    - `ema_decay`: decay of an exponential moving average of the weights, None for none. The
      average is what is evaluated and what the student holds at the end.
    - `autocast`: forward passes in "bfloat16" where PyTorch holds it safe; None for the models'
      own precision.
    - `run_until`: "last_pair" ends each forward pass with the last recorded module, where no
      objective reads outputs: what a model does after its last pair is not computed.
    - `checkpoint_activations`: patterns of student module names whose activations are recomputed
      during backward instead of kept.
    - `seed`: decides everything random.
    - `deterministic`: refuse PyTorch operations that have no deterministic algorithm; on CUDA the
      environment needs `CUBLAS_WORKSPACE_CONFIG=:4096:8` before Python starts.
    - `checkpoint_every`: steps between checkpoints.
    - `keep_last`: newest checkpoints to keep, besides the best; of all settings, the one that may
      change when a run goes on.
    - `evaluate_every`: steps between evaluations; None for one at the end.
    - `monitor`: which metric decides what is best; "loss" is known where there are held-out
      batches, or `evaluate` names it.
    - `monitor_mode`: whether a smaller or a larger metric is better.
    - `patience`: stop after this many evaluations without a better one; None for never.
    - `keep`: which weights the student holds at the end, the "last" or the "best" evaluated.
    - `guard`: protection against broken updates, None for none.

    Raises ValueError if a value is out of its range.
    """

    steps: int
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.01
    warmup_steps: int = 0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | int | None = 1.0
    accumulation: int = 1
    ema_decay: float | None = None
    autocast: Autocast | None = None
    run_until: Literal["end", "last_pair"] = "end"
    checkpoint_activations: tuple[str, ...] = ()
    seed: int = 0
    deterministic: bool = False
    checkpoint_every: int = 100
    keep_last: int = 2
    evaluate_every: int | None = None
    monitor: str = "loss"
    monitor_mode: Literal["min", "max"] = "min"
    patience: int | None = None
    keep: Literal["last", "best"] = "last"
    guard: GuardConfig | None = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        self._check_kinds()
        make_plain(self)
        for name in ("steps", "accumulation", "checkpoint_every", "keep_last"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("evaluate_every", "patience"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "at least 1, or None")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        _require(
            0 <= self.final_learning_rate <= 1,
            "final_learning_rate",
            self.final_learning_rate,
            "a share from 0 to 1",
        )
        _require(
            0 <= self.warmup_steps <= self.steps,
            "warmup_steps",
            self.warmup_steps,
            f"from 0 to steps ({self.steps})",
        )
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        _require(all(0 <= b < 1 for b in self.betas), "betas", self.betas, "in [0, 1)")
        clip, decay = self.clip_norm, self.ema_decay
        _require(clip is None or clip > 0, "clip_norm", clip, "positive, or None")
        _require(decay is None or 0 < decay < 1, "ema_decay", decay, "in (0, 1), or None")
        _require(
            self.autocast in (None, "bfloat16"),
            "autocast",
            self.autocast,
            '"bfloat16" or None (float16 would need loss scaling)',
        )

    def _check_kinds(self) -> None:
        for name in ("steps", "accumulation", "checkpoint_every", "keep_last", "warmup_steps"):
            check_number(name, getattr(self, name), whole=True)
        check_number("seed", self.seed, whole=True)
        for name in ("evaluate_every", "patience"):
            check_number(name, getattr(self, name), whole=True, none=True)
        for name in ("learning_rate", "final_learning_rate", "weight_decay"):
            check_number(name, getattr(self, name))
        for name in ("clip_norm", "ema_decay"):
            check_number(name, getattr(self, name), none=True)
        for place, value in enumerate(self.betas):
            check_number(f"betas[{place}]", value)
        check_choice("run_until", self.run_until, ("end", "last_pair"))
        check_choice("keep", self.keep, ("last", "best"))
        check_choice("monitor_mode", self.monitor_mode, ("min", "max"))


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}; it must be {rule}: give such a value")
