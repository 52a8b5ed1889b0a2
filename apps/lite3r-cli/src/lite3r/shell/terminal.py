"""What a command says, and where: results on standard output, all else on standard error."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lite3r.shell.errors import UserError
from lite3r.shell.words import Words


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command speaks."""

    json: bool = False
    """Print the result as one JSON document on standard output."""
    quiet: bool = False
    """Print the result and errors alone."""
    verbose: bool = False
    """Print what libraries log too, and where in the code a mistake was found."""
    log_file: Path | None = None
    """Append what happens to this file as well, each line with its time."""

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise ValueError("quiet with verbose; they contradict each other: give one of them")

    def log(self, text: str) -> None:
        """Append a line to the log file, if any. Raises UserError when it cannot be written."""
        if self.log_file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self.log_file.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{now} {text}\n")
        except OSError as error:
            raise UserError(
                f"log_file={self.log_file}; {error.strerror}: choose another --log-file"
            ) from error


class Terminal:
    """The standard streams and the log file, as an `Output` asks for them.

    `console` writes to standard error.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._stdout = Console(soft_wrap=output.json, markup=False, emoji=False)
        self.console = Console(stderr=True, quiet=output.quiet, highlight=False)
        if output.verbose:
            handler = RichHandler(console=self.console, show_path=False, markup=False)
            logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])

    def say(self, text: str) -> None:
        """One line about what happens."""
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)  # to be copied
        self._output.log(text)

    @property
    def words(self) -> Words:
        """What work is given to speak with."""
        return Words(say=self.say, progress=self.progress)

    def result(self, value: Mapping[str, Any], shown: RenderableType) -> None:
        """The outcome: `value` as JSON if that was asked for, else `shown`."""
        if self._output.json:
            self._stdout.print_json(json.dumps(value, ensure_ascii=False), highlight=False)
        else:
            self._stdout.print(shown, soft_wrap=isinstance(shown, str))  # a line stays a line

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator["Bar"]:
        """A bar with elapsed and remaining time; the block calls what it is given."""
        self.say(f"{what} ...")
        work = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        clocks = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        seen = self.console.is_terminal  # elsewhere it would leave an empty line
        with Progress(
            *work, *clocks, console=self.console, transient=True, disable=not seen
        ) as bars:
            yield Bar(bars, what, total)


class Bar:
    """Moves a progress bar: `advance()` by one, or `advance(to=n)`."""

    def __init__(self, bars: Progress, what: str, total: int) -> None:
        self._bars = bars
        self._what = what
        self._task = bars.add_task(what, total=total)

    def __call__(self, *, to: int | None = None, note: str = "") -> None:
        if note:
            self._bars.update(self._task, description=f"{self._what} ({note})")
        if to is None:
            self._bars.advance(self._task)
        else:
            self._bars.update(self._task, completed=to)
