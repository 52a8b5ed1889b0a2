"""The command that predicts what listed rows cost: it counts what a selection lists."""

import json
import subprocess
import sys
from pathlib import Path

from sla_kernels import select_rows

from .cases import qkv

COMMAND = Path(__file__).parents[1] / "benchmarks" / "predict_rows.py"


def test_it_counts_the_rows_that_a_selection_lists(tmp_path: Path) -> None:
    out = tmp_path / "predicted.json"
    arguments = ["--tokens", "5000", "--heads", "2", "--width", "32", "--keep", "6"]
    arguments += ["--opened", "3", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, check=True
    )
    made = json.loads(out.read_text())
    assert json.loads(done.stdout) == made
    assert "not a measurement" in made["what"]
    found = select_rows(*qkv(5000, 5000), keep=6, block=(64, 4), summary=(4, 64, 512), opened=3)
    layer = made["layers"][0]
    assert layer["listed"] == found.keys_seen
    parts = layer["parts"]
    for name in ("selection", "forward", "backward"):
        assert parts[f"{name}_least"]["bytes"] < parts[name]["bytes"]
    assert parts["forward"]["tensor_core_products"] == 4 * 5000 * 64 * found.keys_seen
