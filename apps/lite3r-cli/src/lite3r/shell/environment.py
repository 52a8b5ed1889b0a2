"""Where numbers come from, and where they are computed."""

from pathlib import Path
from typing import Any

import torch

from lite3r.shell.errors import UserError
from recon_eval import efficiency

PACKAGES = [
    "lite3r-cli",
    "sla-kernels",
    "fp8-qat",
    "distill",
    "recon-backbones",
    "recon-eval",
    "torch",
    "numpy",
]


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    return efficiency.versions(PACKAGES)


def environment() -> dict[str, Any]:
    """Describe this machine and this software, as every file of measurements states them."""
    return efficiency.environment(PACKAGES, Path(__file__).parent)


def pick_device(wanted: str) -> str:
    """The device that `auto` means here. Raises UserError for CUDA where there is none."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UserError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"
