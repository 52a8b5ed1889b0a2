"""Every launcher's arguments are what a GPU's compiler takes, kernel by kernel."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST = 99 << 10  # bytes of shared memory that the smallest GPU gives a program


@pytest.mark.nightly
def test_launches_compile_with_the_arguments_that_they_are_given() -> None:
    program = ["env", "TRITON_INTERPRET=0", sys.executable, "-m", "tests.launches"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    kernels = {
        line.partition("(")[0].removeprefix("def ")
        for file in ROOT.glob("src/**/kernels*.py")
        for line in file.read_text().splitlines()
        if line.startswith("def ") and "_kernel(" in line
    }
    assert set(found) == kernels
    for name, seen in found.items():
        assert seen["shared"] <= MOST and min(seen["programs"]) > 0, name
