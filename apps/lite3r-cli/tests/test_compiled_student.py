"""torch.compile of students, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["da3-tiny", pytest.param("vggt-tiny", marks=pytest.mark.nightly)])
def test_students_compile(name: str) -> None:
    script = Path(__file__).parent / "programs" / "compiled_student.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(script), "-k", name],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
