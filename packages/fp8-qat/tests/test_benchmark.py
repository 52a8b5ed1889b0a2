"""The benchmark command writes what a table needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "block_linears.py"


@pytest.mark.multiplies
def test_the_benchmark_writes_every_repetition(tmp_path) -> None:
    out = tmp_path / "block.json"
    sizes = ["--tokens", "64", "--dim", "64", "--repetitions", "3", "--backward"]
    command = [sys.executable, str(PROGRAM), *sizes, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    rows = result["rows"]
    assert all(len(row["all_forward_ms"]) == 3 for row in rows.values())
    assert [name for name, row in rows.items() if row["all_forward_backward_ms"]] == [
        "bfloat16",
        "FP8, trained",
    ]
    assert {"cpu", "gpu", "threads", "versions", "commit"} <= result["machine"].keys()
    # FP8 as trained is FP8 multiplied back, at the same distance from bfloat16.
    assert rows["FP8, trained"]["sqnr_db"] == rows["FP8, deployed, multiplied back"]["sqnr_db"]


def test_deployed_layers_are_measured_beside_float32_and_bfloat16(tmp_path) -> None:
    out = tmp_path / "cpu.json"
    program = PROGRAM.with_name("cpu_linears.py")
    command = [sys.executable, str(program), "--tokens", "64", "--repetitions", "2"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 4
    for row in rows:
        assert all(len(times) == 2 for times in row["all_ms"].values())
        assert row["ratio_to_float32"]["float32"] == 1.0
        assert row["bytes_fp8"] < 0.3 * row["bytes_float32"]
        # Products in bfloat16 add far less noise than the FP8 weights have already.
        agreement = row["sqnr_db"]
        noise = (
            agreement["float32, FP8 weight_only"] - agreement["float32, FP8 weight_only, bfloat16"]
        )
        assert noise < 1.0
