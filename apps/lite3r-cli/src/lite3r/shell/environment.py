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


def gpu_name() -> str | None:
    """The name of the GPU that `auto` takes, or None."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple (mps)" if torch.backends.mps.is_available() else None


def pick_device(wanted: str, *, apple: bool = False) -> str:
    """The device that `auto` means here: a GPU, Apple's, or the processor.

    - `apple`: whether the work runs on Apple's GPU (mps), which has neither FP8 nor float64.

    Raises UserError for one that is not there, or that the work does not run on.
    """
    if wanted == "mps" and not apple:
        raise UserError("device=mps; it has no FP8 to train or measure with: use --device cpu")
    there = {"cuda": torch.cuda.is_available()}
    if apple:
        there["mps"] = torch.backends.mps.is_available()
    if not there.get(wanted, True):
        others = [name for name, found in there.items() if found]
        raise UserError(
            f"device={wanted}; PyTorch finds no GPU here: use --device {(*others, 'cpu')[0]}"
        )
    if wanted != "auto":
        return wanted
    return next((name for name, found in there.items() if found), "cpu")
