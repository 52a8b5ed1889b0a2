"""Where numbers come from: hardware, versions, and the commit of a working tree."""

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
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


def place(found: Mapping[str, Any], device: str = "cuda") -> str:
    """Where numbers are from, for people: the GPU of an `environment`, else its processor.

    - `device`: where they were computed, if that is known.
    """
    if device == "cuda" and found["gpu"]:
        return str(found["gpu"])
    return f"{found['processor']}, {found['threads']} threads"


def _processor() -> str:
    """Name of the processor, and family and model, as names may be of many; Linux alone tells."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    known = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    name = known.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in known:
        name += f" (family {known['cpu family']}, model {known.get('model', '?')})"
    return name


def _commit(source: Path) -> str | None:
    command = ("git", "-C", str(source), "rev-parse", "HEAD")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def gpu_name() -> str | None:
    """The name of the GPU that `auto` takes, or None."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple (mps)" if torch.backends.mps.is_available() else None


def pick_device(wanted: str, *, apple: bool = False) -> str:
    """The device that `auto` means here: a GPU, Apple's, or the processor.

    - `apple`: whether the work runs on Apple's GPU (mps), which has neither FP8 nor float64.

    Raises ValueError for one that is not there, or that the work does not run on.
    """
    if wanted == "mps" and not apple:
        raise ValueError("device=mps; it has no FP8 to train or measure with: use cpu")
    there = {"cuda": torch.cuda.is_available()}
    if apple:
        there["mps"] = torch.backends.mps.is_available()
    if not there.get(wanted, True):
        others = [name for name, found in there.items() if found]
        raise ValueError(f"device={wanted}; PyTorch finds no GPU here: use {(*others, 'cpu')[0]}")
    if wanted != "auto":
        return wanted
    return next((name for name, found in there.items() if found), "cpu")
