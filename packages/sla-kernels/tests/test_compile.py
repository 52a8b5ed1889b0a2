"""torch.compile and operator registration, in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "which", ["not nightly", pytest.param("nightly", marks=pytest.mark.nightly)]
)
def test_compiled(which: str) -> None:
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(script), "-m", which],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
