"""The rows of a step: written one by one, skipped where they are, tried again where they failed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gpu.machine import machine

try:
    from triton.errors import TritonError
except ImportError:  # a CPU can be without Triton, and then nothing raises it

    class TritonError(Exception):  # type: ignore[no-redef]
        """Never raised."""


FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    ImportError,
    OSError,
    subprocess.SubprocessError,
    TritonError,
)
BROKEN = ("CUDA error", "device-side assert", "illegal memory access", "unspecified launch failure")

Key = Mapping[str, Any]


class DeviceBroken(Exception):
    """The device answers no more in this process."""


class Record:
    """Rows of one step in `STEP.json`; `run` names the call that writes them."""

    def __init__(self, path: Path, *, run: str, rehearse: bool) -> None:
        self.path, self.run = path, run
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            self.rows = json.loads(path.read_text())["rows"]
        self.head = {"step": path.stem, "rehearsed": rehearse, "machine": machine()}

    def row(self, key: Key, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Measure and write one row, unless it is there; what fails is a row with the reason.

        Raises DeviceBroken, the row written, where nothing can be run any more.
        """
        there = self.find(key)
        if there is not None and ("failed" not in there or there["run"] == self.run):
            return there
        made: dict[str, Any] = {**key, "run": self.run}
        began = time.monotonic()
        try:
            made |= measure()
        except FAILURES as error:
            made["failed"] = f"{type(error).__name__}: {str(error)[:600]}"
        made["took_seconds"] = round(time.monotonic() - began, 2)
        self.rows = [row for row in self.rows if row is not there] + [made]
        self._write()
        print("  " + json.dumps(brief(made)), flush=True)
        if any(words in made.get("failed", "") for words in BROKEN):
            raise DeviceBroken(made["failed"])
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return made

    def find(self, key: Key) -> dict[str, Any] | None:
        """The row with these values, or None."""
        return next((r for r in self.rows if all(r.get(k) == v for k, v in key.items())), None)

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({**self.head, "rows": self.rows}, indent=1) + "\n")
        partial.replace(self.path)


def brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as one line: no lists, few digits."""
    short = {k: v for k, v in row.items() if not isinstance(v, (list, dict)) and k != "run"}
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in short.items()}


def end_broken() -> None:
    """End this process so that the caller starts another."""
    sys.stdout.flush()
    sys.exit(3)
