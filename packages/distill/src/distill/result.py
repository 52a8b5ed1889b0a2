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

    Attributes:
        stopped: "finished" all steps, "early" by patience, or "interrupted" by a signal.
        steps: Optimiser steps done, over all sessions of the run.
        losses: Losses of the last step by name: "loss" and every objective.
        metrics: The last evaluation; empty where there was none.
        best_step: Step of the best evaluation.
        best_value: Its monitored metric.
        rollbacks: How often the guard went back to a snapshot.
        seconds: Time in steps and evaluations, over all sessions of the run.
        trainable: What trained.
        averaged: Whether the student holds the average of its weights over the steps, as
            `load_weights` reads it from the directory, and not those of the last step.
        history: All entries of the log, as `read_journal` returns them.
        directory: Where log and checkpoints are, if anywhere.
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
