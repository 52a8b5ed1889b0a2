"""Kernels where faults of memory show: under compute-sanitizer, and without PyTorch's cache."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from gpu.checks import attention, fp8
from gpu.record import Record
from gpu.setting import Setting

COMMAND = Path(__file__).parents[2] / "gpu_day.py"
KINDS = ("blocks", "rows,", "order", "quantize")  # what names of checks begin with
LEFT = ("captured", "no wait")  # a graph and a host that waits are no faults of memory
WAYS = {
    "compute-sanitizer": ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9"],
    "no cache": ["env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1"],
}
SECONDS = 140


def measure(setting: Setting, record: Record) -> None:
    """Each kind of check in each way; a fault is a row that failed."""
    for way, kind in ((way, kind) for kind in KINDS for way in WAYS):
        record.row({"way": way, "checks": kind}, partial(run, way, kind, setting))


def run(way: str, kind: str, setting: Setting) -> dict[str, Any]:
    """Run the checks of a kind in a process of its own."""
    if shutil.which(WAYS[way][0]) is None:
        return {"not_run": f"{WAYS[way][0]} is not installed"}
    own = [sys.executable, str(COMMAND), "--step", "memory", "--check", kind]
    own += ["--rehearse"] if setting.rehearse else []
    done = subprocess.run([*WAYS[way], *own], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return {"sound": True}


def check(kind: str, setting: Setting) -> None:
    """Run the checks whose names begin so. Raises AssertionError for an error that is too large."""
    checks = attention.checks(setting) | fp8.checks(setting)
    for name, call in checks.items():
        if name.startswith(kind) and not any(word in name for word in LEFT):
            found = call()
            assert found["error"] <= found["allowed"], (name, found)
