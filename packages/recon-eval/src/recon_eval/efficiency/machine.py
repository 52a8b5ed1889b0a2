"""Where numbers come from: hardware, versions, and the commit of a working tree."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of installed packages, and of Python."""
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def environment(packages: Iterable[str], source: Path) -> dict[str, Any]:
    """Describe this machine and this software, as every file of measurements states them.

    - `source`: a folder of the repository whose commit is told; None is told outside of one.
    """
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "versions": versions(packages),
        "commit": _commit(source),
    }


def _processor() -> str:
    """Name of the processor; Linux alone tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit(source: Path) -> str | None:
    command = ("git", "-C", str(source), "rev-parse", "HEAD")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
