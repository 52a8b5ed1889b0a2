"""Every kernel once, against what it must equal, before anything is timed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from gpu.checks import attention, fp8, whole
from gpu.record import Record
from gpu.setting import Setting

COMMAND = Path(__file__).parents[2] / "gpu_day.py"
KINDS = ("blocks", "rows", "order")  # what names of checks begin with that compile much
AHEAD_SECONDS = 40.0
MOST = 14  # processes that compile at once


def measure(setting: Setting, record: Record) -> None:
    """All checks; a row whose `error` exceeds `allowed` says that it is not sound."""
    kernels = attention.checks(setting)
    if not setting.rehearse:
        compile_ahead(n for n in kernels if n.startswith(KINDS) and not record.find({"check": n}))
    for checks in (fp8.checks(setting), kernels, whole.checks(setting)):
        for name, check in checks.items():
            record.row({"check": name}, partial(judged, check))


def compile_ahead(names: Iterable[str]) -> None:
    """Run checks in many processes at once, whatever they find: their kernels are compiled then.

    Triton compiles one kernel after another and keeps them on disk; a second a kernel is minutes.
    """
    own = ["env", "OMP_NUM_THREADS=2", sys.executable, str(COMMAND), "--step", "smoke", "--check"]
    waiting = [[*own, name] for name in names]
    ends = time.monotonic() + AHEAD_SECONDS
    running: list[subprocess.Popen[bytes]] = []
    while (waiting or running) and time.monotonic() < ends:
        while waiting and len(running) < min(MOST, os.cpu_count() or 1):
            nothing = subprocess.DEVNULL
            running.append(subprocess.Popen(waiting.pop(0), stdout=nothing, stderr=nothing))
        time.sleep(0.05)
        running = [process for process in running if process.poll() is None]
    for process in running:
        process.kill()
        process.wait()


def judged(check: object) -> dict[str, object]:
    """Run a check; it returns the error found and the error allowed."""
    found = check()  # type: ignore[operator]
    if not found["error"] <= found["allowed"]:
        raise AssertionError(
            f"error={found['error']:.3g}; it must be at most {found['allowed']:.3g}"
        )
    return dict(found)
