"""Run steps as child processes, one after another, each within its limit."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu.plan import REHEARSAL_SECONDS, Step

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / "tools" / "gpu_day.py"
BROKEN = 3  # how a child ends whose device does not answer any more; its rows so far are written
TRIES = 3
IMPORTS_FIRST = 'export PYTHONPATH="$1${PYTHONPATH:+:$PYTHONPATH}"; shift; exec "$@"'


@dataclass(frozen=True, kw_only=True)
class Day:
    """Where results go, and what this call is.

    - `site`: folder with packages that were carried here, or None.
    - `run`: the name of this call; rows that failed under another name are tried again.
    """

    out: Path
    rehearse: bool
    site: Path | None
    run: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a step ended: "done", "time limit", the exit status of its process, or, where it was a
    rehearsal, how many rows failed."""

    step: str
    how: str
    seconds: float


def run_all(day: Day, steps: Sequence[Step]) -> bool:
    """Run the steps; returns whether all came to their end. Writes `day.json` after each."""
    day.out.mkdir(parents=True, exist_ok=True)
    ended = []
    for step in steps:
        ended.append(run(day, step))
        told = [vars(e) for e in ended]
        (day.out / "day.json").write_text(json.dumps({"run": day.run, "steps": told}, indent=1))
        print(f"{step.name}: {ended[-1].how} after {ended[-1].seconds:.0f} s", flush=True)
    return all(e.how == "done" for e in ended)


def run(day: Day, step: Step) -> Ended:
    """Run one step; one whose device broke goes on in a new process while there is time."""
    limit = REHEARSAL_SECONDS if day.rehearse else step.seconds
    began = time.monotonic()
    how = ""
    for _ in range(TRIES):
        left = limit - (time.monotonic() - began)
        try:
            done = subprocess.run(words(day, step), timeout=max(1.0, left))
        except subprocess.TimeoutExpired:
            how = "time limit"
            break
        how = "done" if done.returncode == 0 else f"exit status {done.returncode}"
        if done.returncode != BROKEN:
            break
    if how == "done" and day.rehearse and (failed := _failed(day.out / f"{step.name}.json")):
        how = f"{failed} rows failed"
    return Ended(step=step.name, how=how, seconds=time.monotonic() - began)


def _failed(path: Path) -> int:
    """How many rows of a step say that they failed; on a GPU the next call tries those again."""
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    return sum("failed" in row for row in rows)


def words(day: Day, step: Step) -> list[str]:
    """The command of a child: what was compiled is kept in --out for the next call.

    It imports the packages of this repository and what was carried here before all else.
    """
    places = [*sorted(ROOT.glob("*/*/src")), *([day.site.resolve()] if day.site else [])]
    settings = [
        f"TORCHINDUCTOR_CACHE_DIR={(day.out / 'cache').resolve()}",
        f"TRITON_CACHE_DIR={(day.out / 'cache' / 'triton').resolve()}",
        f"TRITON_INTERPRET={int(day.rehearse and step.interpreted)}",
    ]
    own = [sys.executable, str(COMMAND), "--step", step.name, "--out", str(day.out)]
    first = ["sh", "-c", IMPORTS_FIRST, "sh", ":".join(map(str, places))]
    return [
        *first,
        "env",
        *settings,
        *own,
        "--run",
        day.run,
        *(["--rehearse"] if day.rehearse else []),
    ]
