"""The log of a run: one JSON object a line, cut back to the checkpoint on resume."""

import json
import math
import os
from pathlib import Path
from typing import Any

from distill.resume.files import is_full, sync_file, write_atomically


class Journal:
    """Appends to a log file; on a full disk, lines wait in memory for the next try.

    - `path`: the file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []

    def cut(self, step: int, *, closed: bool = True) -> None:
        """Remove everything after `step`, and a half-written last line.

        - `closed`: whether the evaluation of that step is done; it goes if it is to come again.
        """
        kept = [
            entry
            for entry in read_journal(self._path)
            if entry["step"] < step + (closed or entry["kind"] != "evaluation")
        ]
        write_atomically(self._path, "".join(map(_line, kept)))

    def write(self, **entry: Any) -> None:
        """Append an entry, or keep it for later where the disk is full."""
        self._waiting.append(_line(entry))
        self._write_waiting()

    def flush(self) -> None:
        """Flush all entries to disk, as what a checkpoint counts on is not written again."""
        self._write_waiting()
        sync_file(self._path)

    def _write_waiting(self) -> None:
        if _append(self._path, "".join(self._waiting).encode()):
            self._waiting.clear()


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """Return the entries of a log; a half-written last line is left out.

    Every entry has "step" and "kind": "step" entries hold losses, learning_rate,
    gradient_norm, seconds and images; "evaluation" entries hold metrics; "rollback" and
    "warning" entries say why. Values that are not finite are null.

    Raises ValueError where a whole line is no JSON.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"log={str(path)!r}; it must be lines of JSON ({error}): move it away, and the run "
            "goes on with a new one"
        ) from error


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(_finite(entry), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(element) for key, element in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _append(path: Path, data: bytes) -> bool:
    """Append all of the data or, on a full disk, none of it."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) == len(data):
                return True
        except OSError as error:
            if not is_full(error):
                raise
        file.truncate(end)
        return False
