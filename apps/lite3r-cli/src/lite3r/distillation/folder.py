"""A run's folder: checked before the work, continued after a stop, never lost by accident."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from distill.resume.identity import differences
from lite3r.shell import atomic
from lite3r.shell.errors import UserError, reported
from lite3r.student.files import ADAPTER, CONFIG, DEPLOYED

SETTINGS = "run.json"
TRAINING = "training"
REPORT = "report.json"
OWN_FILES = {SETTINGS, TRAINING, REPORT, "report.html", CONFIG, ADAPTER, DEPLOYED}

State = Literal["new", "resumed", "finished"]


def check(folder: Path, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> State:
    """Say what is in `folder`, and whether a run may go there; nothing is changed yet.

    - `settings`: what the weights depend on; a resumed run must have the same.

    Raises UserError when the folder holds another run or anything else, when neither
    `resume` nor `overwrite` says what to do with an earlier run, or when it cannot be written.
    """
    if resume and overwrite:
        raise UserError("resume with overwrite; they contradict each other: give one of them")
    with reported(OSError):
        atomic.check_writable(folder)
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    visible = {n for n in present if not _left_behind(n) and not (resume and n[0] == ".")}
    if visible - OWN_FILES or (visible and SETTINGS not in visible):
        strange = sorted(visible - OWN_FILES or visible)[:3]
        raise UserError(
            f"{folder} is no run of lite3r; it holds {', '.join(strange)}: choose another --out"
        )
    if visible and not resume and not overwrite:
        raise UserError(
            f"{folder} holds an earlier run; it is not lost by accident: add --resume to "
            "continue it, --overwrite to replace it, or choose another --out"
        )
    if visible and resume:
        _compare(folder, settings)
        return "finished" if REPORT in visible else "resumed"
    return "new"


def _left_behind(name: str) -> bool:
    """Whether a file browser left it, or a run that was killed while it wrote."""
    return name in atomic.SIDECARS or any(name.startswith(f".{own}.") for own in OWN_FILES)


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Empty a checked folder of its earlier run, if any, and write the settings of this one."""
    for old in folder.iterdir():  # it may be a link, or where a disk is mounted
        old.unlink() if old.is_symlink() or not old.is_dir() else shutil.rmtree(old)
    atomic.write_json(folder / SETTINGS, settings)


def read_report(run: Path) -> dict[str, Any] | None:
    """The report of a run, or None where there is none. Raises ValueError for a damaged one."""
    path = run / REPORT
    if not path.is_file():
        return None
    try:
        report: dict[str, Any] = atomic.parse_json(path.read_bytes(), path)
        report["rows"][-1]["label"], report["environment"]["versions"]
        report["facts"], report["summary"]
    except (LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged; {error}: copy it again, or remove it") from error
    return report


def _compare(folder: Path, settings: Mapping[str, Any]) -> None:
    with reported():
        before = atomic.parse_json((folder / SETTINGS).read_bytes(), folder / SETTINGS)
    if changed := differences(before, json.loads(json.dumps(settings))):
        raise UserError(
            f"{folder} was begun with other settings ({', '.join(changed)}); they must be "
            "the same: resume with those, or choose another --out"
        )
