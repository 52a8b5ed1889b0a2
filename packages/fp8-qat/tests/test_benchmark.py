"""The benchmark command writes what a table needs."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "block_linears.py"


def test_the_benchmark_writes_every_repetition(tmp_path) -> None:
    out = tmp_path / "block.json"
    sizes = ["--tokens", "64", "--dim", "64", "--repetitions", "3"]
    command = [sys.executable, str(PROGRAM), *sizes, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    assert all(len(row["all_ms"]) == 3 for row in result["rows"].values())
    assert {"hardware", "versions", "commit", "settings", "threads"} <= result.keys()
    assert len(result["rows"]) >= 4
