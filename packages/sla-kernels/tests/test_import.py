"""Importing the package costs little beyond PyTorch."""

import subprocess
import sys

SECONDS = 2.0  # of a processor, so that a busy machine does not count
PROGRAM = """
import sys, time
import torch
before = time.process_time()
import sla_kernels
print(time.process_time() - before, "sla_kernels" in sys.modules)
"""


def test_importing_takes_less_than_two_seconds() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    seconds, imported = done.stdout.decode().split()
    assert imported == "True"
    assert 0 < float(seconds) < SECONDS
