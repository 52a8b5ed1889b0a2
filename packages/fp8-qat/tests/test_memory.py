"""A frozen FP8 stack needs at most 0.6 of the memory of the bfloat16 one."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "frozen_memory.py"


def test_frozen_stack_needs_little_memory(tmp_path) -> None:
    out = tmp_path / "memory.json"
    sizes = ["--layers", "24", "--dim", "640", "--tokens", "32"]
    command = [sys.executable, str(PROGRAM), *sizes, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0.5 < json.loads(out.read_text())["ratio"] <= 0.6
