"""What grows with the number of views, in a process of its own: shape checks keep tensors alive."""

import subprocess
import sys
from pathlib import Path


def test_memory_grows_by_what_must_be_kept_alone() -> None:
    script = Path(__file__).with_name("streaming.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
