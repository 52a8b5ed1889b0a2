"""Where numbers come from, and where they are computed."""

from pathlib import Path
from typing import Any

from recon_eval import efficiency
from recon_eval.efficiency import gpu_name as gpu_name
from recon_eval.efficiency import pick_device as pick_device

PACKAGES = ["lite3r-cli", "sla-kernels", "fp8-qat", "distill", "recon-backbones", "recon-eval"]
PACKAGES += ["torch", "numpy"]


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    return efficiency.versions(PACKAGES)


def environment() -> dict[str, Any]:
    """Describe this machine and this software, as every file of measurements states them."""
    return efficiency.environment(PACKAGES, Path(__file__).parent)
