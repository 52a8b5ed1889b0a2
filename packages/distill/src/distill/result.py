"""What a run leaves behind, besides the trained student."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill.resume.progress import Ended
from distill.trainable.freeze import TrainableReport

Stopped = Ended | Literal["interrupted"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run leaves behind; the student itself was trained in place.

    - `stopped`: "finished" all steps, "early" by patience, or "interrupted" by a signal.
    - `signal`: the number of the signal that this process got meanwhile, if any; in the last step
      it comes too late to interrupt.
    - `steps`: optimizer steps done, over all sessions of the run.
    - `losses`: losses of the last step by name: "loss" and every objective.
    - `metrics`: the last evaluation; empty where there was none.
    - `best_step`: step of the best evaluation.
    - `best_value`: its monitored metric.
    - `rollbacks`: how often the guard went back to a snapshot.
    - `seconds`: time in steps and evaluations, over all sessions of the run.
    - `trainable`: what trained.
    - `averaged`: whether the student holds the average of its weights over the steps, as
      `load_weights` reads it from the directory, and not those of the last step.
    - `history`: all entries of the log, as `read_journal` returns them.
    - `directory`: where log and checkpoints are, if anywhere.
    """

    stopped: Stopped
    steps: int
    losses: dict[str, float]
    metrics: dict[str, float]
    best_step: int | None
    best_value: float | None
    rollbacks: int
    seconds: float
    trainable: TrainableReport
    averaged: bool
    history: list[dict[str, Any]]
    directory: Path | None
    signal: int | None = None

    @property
    def told_to_stop(self) -> bool:
        """Whether a signal came to this process, or stopped the run through another one."""
        return self.signal is not None or self.stopped == "interrupted"
