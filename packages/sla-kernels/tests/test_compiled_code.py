"""The kernels compiled for GPUs that are not here: they fit, spill nothing, use tensor cores.

A part of what `benchmarks/compiled_code.py` compiles: the commonest width for every target, and
where registers are scarcest.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[1] / "benchmarks" / "compiled_code.py"
ROWS = ("rows_fwd", "rows_bwd")
ADDERS = ("rows_sum", "rows_laid", "rows_larger", "cells_means", "cells_larger", "cells_tilt")
ADDERS += ("cells_top",)  # which ranks what others scored
ORDERS = ("order_spread", "order_keys", "order_longest", "order_long", "order_short", "order_few")


def compiled(tmp_path: Path, *arguments: str) -> list[dict]:
    """Run the command with Triton's compiler, which the interpreter otherwise stands in for."""
    out = tmp_path / "compiled.json"
    done = subprocess.run(
        ["env", "TRITON_INTERPRET=0", sys.executable, str(COMMAND), "--out", str(out), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    entries = json.loads(out.read_text())["kernels"]
    for entry in entries:
        assert entry["spilled_bytes"] == 0, entry
        assert entry["tensor_cores"] or entry["kernel"] in (*ADDERS, *ORDERS), entry
    return entries


@pytest.mark.parametrize(
    "target",
    [
        *("sm_80", "sm_90", "gfx942"),
        *(pytest.param(each, marks=pytest.mark.nightly) for each in ("sm_86", "sm_100", "sm_120")),
    ],
)
def test_every_kernel(target: str, tmp_path: Path) -> None:
    entries = compiled(tmp_path, "--widths", "64", "--dtypes", "bf16", "--targets", target)
    kernels = {entry["kernel"] for entry in entries}
    assert {"sparse_fwd", "sparse_bwd_q", "sparse_bwd_kv"} < kernels
    assert {"linear_state", "linear_fwd", "linear_bwd_q", "linear_bwd_kv"} < kernels
    assert {*ROWS, *ADDERS, "cells_asked", "cells_largest", "cells_last"} < kernels
    assert {*ORDERS, "order_features"} < kernels
    for entry in entries:
        assert entry["target"] == target
        if entry["kernel"] not in {"sparse_fwd", "sparse_bwd_q", "sparse_bwd_kv", *ROWS}:
            continue
        if target == "sm_90":
            assert entry["tensor_cores"]["HGMMA"] > 0
        if target != "gfx942":
            assert entry["copies_under_way"] >= 2, entry  # a turn waits for none of its own loads


def test_the_widest_heads_in_float32(tmp_path: Path) -> None:
    kernels = ["sparse_bwd_q", "sparse_bwd_kv", "linear_bwd_q", "linear_bwd_kv", *ROWS]
    kernels += ["rows_laid", "cells_last", "cells_wanted"]
    arguments = ["--widths", "128", "--dtypes", "fp32", "--targets", "sm_90"]
    assert len(compiled(tmp_path, *arguments, "--kernels", *kernels)) == 9


def test_the_widest_heads_where_shared_memory_is_least(tmp_path: Path) -> None:
    arguments = ["--widths", "128", "--dtypes", "fp16", "--targets", "sm_86"]
    kernels = ["sparse_fwd", "sparse_bwd_kv", *ROWS]
    assert len(compiled(tmp_path, *arguments, "--kernels", *kernels)) == 4


@pytest.mark.parametrize(
    ("target", "width", "kernel"),
    [
        ("sm_120", "64", "cells_largest"),
        ("sm_80", "128", "cells_largest"),
        ("sm_120", "128", "order_features"),
        pytest.param("sm_80", "32", "cells_largest", marks=pytest.mark.nightly),
        pytest.param("sm_86", "32", "cells_largest", marks=pytest.mark.nightly),
        pytest.param("sm_100", "32", "cells_last", marks=pytest.mark.nightly),
        pytest.param("sm_90", "64", "order_features", marks=pytest.mark.nightly),
    ],
)
def test_where_float32_has_least_room(target: str, width: str, kernel: str, tmp_path: Path) -> None:
    arguments = ["--dtypes", "fp32", "--targets", target, "--widths", width, "--kernels", kernel]
    assert len(compiled(tmp_path, *arguments)) == 1
