"""A sample of the hostile files is met as all of them are in `nox -s hostile`."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[3] / "tools"


def test_hostile_files_are_refused_in_a_sentence_and_cost_little() -> None:
    words = [sys.executable, "-m", "hostile", "--every", "20"]
    done = subprocess.run(words, cwd=TOOLS, capture_output=True, text=True, timeout=240)
    last = done.stdout.splitlines()[-1] if done.stdout else done.stderr
    assert done.returncode == 0, done.stdout
    assert "hostile files" in last and last.endswith("0 broken")
    assert int(last.split()[0]) > 25
