"""Importing the package costs little beyond PyTorch."""

import subprocess
import sys

PROGRAM = """
import sys
import torch
before = set(sys.modules)
import sla_kernels
print(*sorted(set(sys.modules) - before))
"""
SLOW = ("torch._dynamo", "torch._inductor", "numba", "scipy", "sla_kernels.runtime.kernels")


def test_importing_loads_nothing_that_is_slow() -> None:
    """Which modules come along is told by no clock, so that a busy machine does not count."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    came = done.stdout.decode().split()
    assert "sla_kernels" in came
    assert [name for name in SLOW if name in came] == []
