"""A progress bar in the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from distill.reporter import Start, StepRecord


class TerminalProgress:
    """A reporter that shows loss, speed and time left.

    Args:
        console: Where to draw; a new one on standard output by default.
        title: Word before the bar.
    """

    def __init__(self, console: Console | None = None, *, title: str = "distill") -> None:
        self._console, self._title = console or Console(), title
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._seconds = 0.0

    def started(self, start: Start) -> None:
        """Print what trains and open the bar."""
        self._console.print(str(start), highlight=False)
        if start.step:
            self._console.print(f"Resumed after step {start.step}.", highlight=False)
        self._bar.start()
        self._task = self._bar.add_task(
            self._title, total=start.steps, completed=start.step, loss="-", speed=""
        )

    def stepped(self, record: StepRecord) -> None:
        """Move the bar."""
        if self._task is None:
            return
        mean = record.seconds if not self._seconds else 0.9 * self._seconds + 0.1 * record.seconds
        self._seconds = mean
        speed = (
            f"{record.images / mean:.1f} images/s" if record.images else f"{1 / mean:.2f} steps/s"
        )
        self._bar.update(
            self._task, completed=record.step, loss=f"{record.losses['loss']:.4g}", speed=speed
        )

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Print the metrics above the bar."""
        values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._console.print(f"step {step}: {values}", highlight=False)

    def warned(self, text: str) -> None:
        """Print the warning above the bar."""
        self._console.print(f"[yellow]warning[/yellow] {text}", highlight=False)

    def ended(self, why: str) -> None:
        """Close the bar."""
        self._bar.stop()
