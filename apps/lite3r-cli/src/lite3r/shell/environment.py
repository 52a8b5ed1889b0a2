"""Where numbers come from: hardware, versions, and the commit of the working tree."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lite3r.shell.errors import UserError

PACKAGES = (
    "lite3r-cli",
    "sla-kernels",
    "fp8-qat",
    "distill",
    "recon-backbones",
    "recon-eval",
    "torch",
    "numpy",
)


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def environment() -> dict[str, Any]:
    """Describe this machine and this software, as every file of measurements states them."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "versions": versions(),
        "commit": _commit(),
    }


def _processor() -> str:
    """Name of the processor; Linux alone tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the repository that this package lies in, or None outside of one."""
    command = ("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def pick_device(wanted: str) -> str:
    """The device that `auto` means here. Raises UserError for CUDA where there is none."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UserError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"
