"""Compiled code gives the bytes of eager code, on a CPU."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "compiled.py"


@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on a CPU",
)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.nightly)])
def test_compiled_equals_eager(dtype: str) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), dtype], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
