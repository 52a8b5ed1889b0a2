"""torch.compile of students, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def test_students_compile() -> None:
    script = Path(__file__).parent / "programs" / "compiled_student.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
