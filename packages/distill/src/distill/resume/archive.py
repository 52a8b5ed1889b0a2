"""The directory of a run: what it is, its log, its checkpoints.

run.json           settings and fingerprints that a resumed run must share
log.jsonl          one line a step, evaluation, rollback or warning
checkpoints/       see `distill.resume.checkpoint`
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from distill.record.settings import check_choice
from distill.resume.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    restate,
    save_checkpoint,
)
from distill.resume.files import is_full, remove_partial, write_atomically
from distill.resume.identity import differences, digest
from distill.resume.journal import Journal, read_journal

Resume = Literal["auto", "new", "continue"]


def has_run(directory: str | Path) -> bool:
    """Return whether a directory holds a run with a checkpoint, from which it would go on.

    A run that ended before its first checkpoint starts anew, from the student as it is given.
    """
    return bool(list_checkpoints(Path(directory) / "checkpoints"))


def read_identity(directory: Path) -> dict[str, Any]:
    """Return what `identify` told of the run in a directory.

    Raises ValueError if its run.json is missing or damaged.
    """
    path = directory / "run.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise ValueError(
            f"run={str(path)!r}; it is missing or damaged ({error}), and says which settings the "
            "checkpoints beside it are of: copy it from where they come from"
        ) from error
    return dict(found)


class Archive:
    """Reads and writes a run's directory, or keeps only the log, in memory.

    - `directory`: where; None keeps no checkpoints.
    - `identity`: see `identify`.
    - `writes`: whether this process writes; all processes read.
    """

    def __init__(
        self, directory: Path | None, identity: Mapping[str, Any], *, writes: bool
    ) -> None:
        self.directory, self._identity, self._writes = directory, identity, writes
        self._entries: list[dict[str, Any]] = []
        self._journal: Journal | None = None

    def open(self, resume: Resume) -> Checkpoint | None:
        """Return the newest checkpoint to go on from, or None for a new start.

        Raises ValueError if a run is there and `resume` is "new"; none is there and it is
        "continue"; `resume` is unknown; it is another run (every differing setting is named); or
        its newest checkpoint is damaged.
        """
        _check_resume(self.directory, resume)
        if self.directory is None:
            return None
        run = self.directory / "run.json"
        found = list_checkpoints(self.directory / "checkpoints")
        if found and run.exists():  # without a checkpoint there is nothing to go on with
            before = read_identity(self.directory)
            self._check(before)
            self._identity = before  # a digest tells 1 from 1.0, which are one setting
        checkpoint = load_checkpoint(found[-1]) if found else None
        if checkpoint and checkpoint.state["run"] != digest(self._identity):
            raise ValueError(
                f"checkpoint={str(found[-1])!r}; it belongs to another run than {run}: remove "
                "it, or choose another directory"
            )
        return checkpoint

    def prepare(self, step: int, *, closed: bool) -> None:
        """Clear what a killed process left half done, and cut the log back, see `Journal.cut`."""
        if self.directory is None or not self._writes:
            return
        checkpoints = self.directory / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        for place in (self.directory, checkpoints):
            remove_partial(place)
        write_atomically(self.directory / "run.json", json.dumps(self._identity, indent=1))
        self._journal = Journal(self.directory / "log.jsonl")
        self._journal.cut(step, closed=closed)

    def save(
        self, step: int, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]
    ) -> str | None:
        """Write a checkpoint; return a warning where the disk is full, else None."""
        if self.directory is None or self._journal is None:
            return None
        state = {"run": digest(self._identity), "progress": progress}
        try:
            self._journal.flush()
            path = save_checkpoint(self.directory / "checkpoints", step, tensors, state)
            if progress["stopped"]:  # one that an error left says that the run goes on
                restate(path, state)
        except OSError as error:
            if not is_full(error):
                raise
            return self._full(step, tensors)
        return None

    def prune(self, *, keep_last: int, best: int | None) -> None:
        """Remove old checkpoints, but not that of the step `best`."""
        if self.directory is not None and self._writes:
            keep = [] if best is None else [best]
            prune_checkpoints(self.directory / "checkpoints", keep_last=keep_last, keep=keep)

    def load(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step."""
        if self.directory is None:
            raise ValueError(
                "directory=None; a run without a directory has no checkpoints: give one"
            )
        return load_checkpoint(self.directory / "checkpoints" / f"step-{step:08d}")

    def note(self, **entry: Any) -> None:
        """Add an entry to the log."""
        if self._journal:
            self._journal.write(**entry)
        elif self.directory is None:
            self._entries.append(entry)

    def history(self) -> list[dict[str, Any]]:
        """Return all entries of the log."""
        if self.directory is None:
            return self._entries
        return read_journal(self.directory / "log.jsonl")

    def _check(self, before: Mapping[str, Any]) -> None:
        if changed := differences(before, self._identity):
            raise ValueError(
                f"directory={str(self.directory)!r}; its run goes on with the same settings, "
                "and these differ:\n  "
                + "\n  ".join(changed)
                + "\nGive the settings of the run, or start a new one in another directory"
            )

    def _full(self, step: int, tensors: Mapping[str, Tensor]) -> str:
        need = sum(tensor.nbytes for tensor in tensors.values())
        assert self.directory is not None
        free = shutil.disk_usage(self.directory).free
        return (
            f"The checkpoint of step {step} was not written: {self.directory} has no space left "
            f"(needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free). Training goes on; "
            "earlier checkpoints are whole, the next one is tried when it is due."
        )


def _check_resume(directory: Path | None, resume: Resume) -> None:
    check_choice("resume", resume, get_args(Resume))
    there = directory is not None and (directory / "run.json").exists()
    if resume == "new" and there:
        raise ValueError(
            f"resume='new'; there is a run in {directory} already: resume it, or choose another "
            "directory"
        )
    if resume == "continue" and not there:
        raise ValueError(
            f"resume='continue' with directory={directory and str(directory)!r}; there is no run "
            "to resume, run.json is missing: give the directory of a run, or resume='auto'"
        )
