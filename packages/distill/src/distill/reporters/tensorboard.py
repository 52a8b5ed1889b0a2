"""Curves for TensorBoard, where the package `tensorboard` is installed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.reporters.reporter import Start, StepRecord


class TensorBoard:
    """A reporter that writes scalars; install `distill[tensorboard]`.

    - `directory`: where the event files go.

    Raises ImportError if the package `tensorboard` is not installed.
    """

    def __init__(self, directory: str | Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make, self._directory = SummaryWriter, directory
        self._writer: Any = None

    def started(self, start: Start) -> None:
        """Open the file and write what trains."""
        self._writer = self._make(str(self._directory))
        self._writer.add_text("start", str(start), start.step)

    def stepped(self, record: StepRecord) -> None:
        """Write losses, learning rate, gradient norm and duration."""
        for name, value in record.losses.items():
            self._writer.add_scalar(f"train/{name}", value, record.step)
        for name in ("learning_rate", "gradient_norm", "seconds"):
            self._writer.add_scalar(f"step/{name}", getattr(record, name), record.step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"evaluation/{name}", value, step)

    def warned(self, text: str) -> None:
        """Write the warning."""
        self._writer.add_text("warning", text)

    def ended(self, why: str) -> None:
        """Close the file."""
        self._writer.close()
