"""Curves for Weights & Biases, where the package `wandb` is installed."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from distill.reporters.reporter import Start, StepRecord


class WandB:
    """A reporter that logs to Weights & Biases; install `distill[wandb]`.

    - `project`: name of the project.
    - `directory`: where its files go.
    - `mode`: "offline" writes files that `wandb sync` can send later; "online" sends.
    - `name`: name of the run; wandb invents one by default.

    Raises ImportError if the package `wandb` is not installed.
    """

    def __init__(
        self,
        project: str,
        *,
        directory: str | Path,
        mode: Literal["offline", "online"] = "offline",
        name: str | None = None,
    ) -> None:
        self._wandb: Any = import_module("wandb")
        self._options = {"project": project, "dir": str(directory), "mode": mode, "name": name}
        self._run: Any = None
        self._warnings: list[str] = []

    def started(self, start: Start) -> None:
        """Open the run and say what trains."""
        said = {"start": str(start), "steps": start.steps, "processes": start.processes}
        self._run = self._wandb.init(config=said, **self._options)

    def stepped(self, record: StepRecord) -> None:
        """Log losses, learning rate, gradient norm and duration."""
        values = {f"train/{name}": value for name, value in record.losses.items()}
        for name in ("learning_rate", "gradient_norm", "seconds"):
            values[f"step/{name}"] = getattr(record, name)
        self._run.log(values, step=record.step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics."""
        self._run.log({f"evaluation/{name}": v for name, v in metrics.items()}, step=step)

    def warned(self, text: str) -> None:
        """Add the warning to the summary."""
        self._warnings.append(text)
        self._run.summary["warnings"] = list(self._warnings)

    def ended(self, why: str) -> None:
        """Close the run."""
        self._run.summary["ended"] = why
        self._run.finish(exit_code=int(why == "failed"))
