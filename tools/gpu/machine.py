"""What figures were measured on, and with what."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("sla-kernels", "fp8-qat", "distill", "recon-backbones", "recon-eval", "lite3r-cli")


def machine() -> dict[str, Any]:
    """Hardware, versions and commit."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    names = ("torch", "triton", *PACKAGES)
    return {
        "gpu": gpu() if torch.cuda.is_available() else None,
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in names if (found := _version(name))},
        "commit": commit or None,
    }


def gpu() -> dict[str, Any]:
    """The GPU, as PyTorch sees it."""
    told = torch.cuda.get_device_properties(0)
    return {
        "name": told.name,
        "capability": f"sm_{told.major}{told.minor}",
        "processors": told.multi_processor_count,
        "memory_bytes": told.total_memory,
        "cuda": torch.version.cuda,
    }


def processor() -> str:
    """The processor's name, where Linux tells it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
