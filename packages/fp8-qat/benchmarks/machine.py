"""What a reader needs to judge the figures of a benchmark."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import fp8_qat


def machine() -> dict[str, Any]:
    """Hardware, versions and commit of this run."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "versions": {
            "fp8-qat": fp8_qat.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "commit": commit or None,
    }
