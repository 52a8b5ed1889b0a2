"""The kernels compiled for GPUs that are not here: no spills, tensor cores in use."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[1] / "benchmarks" / "compiled_code.py"


def compiled(tmp_path: Path, *arguments: str) -> list[dict]:
    """Run the command with Triton's compiler, which the interpreter otherwise stands in for."""
    out = tmp_path / "compiled.json"
    done = subprocess.run(
        ["env", "TRITON_INTERPRET=0", sys.executable, str(COMMAND), "--out", str(out), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())["kernels"]


def test_every_target(tmp_path: Path) -> None:
    entries = compiled(tmp_path, "--widths", "64", "--dtypes", "bf16")
    assert {entry["target"] for entry in entries} == {
        "sm_80",
        "sm_86",
        "sm_90",
        "sm_100",
        "sm_120",
        "gfx942",
    }
    for entry in entries:
        assert entry["spilled_bytes"] == 0 and entry["tensor_cores"], entry
        if entry["target"] == "sm_90" and entry["kernel"].startswith("sparse"):
            assert entry["tensor_cores"]["HGMMA"] > 0


def test_the_widest_heads_fit_hopper(tmp_path: Path) -> None:
    arguments = ["--widths", "128", "--dtypes", "bf16", "--targets", "sm_90"]
    for entry in compiled(tmp_path, *arguments):
        assert entry["spilled_bytes"] == 0 and entry["tensor_cores"], entry
