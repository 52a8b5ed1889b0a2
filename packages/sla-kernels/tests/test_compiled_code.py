"""The kernels compiled for GPUs that are not here: they fit, spill nothing, use tensor cores.

A part of what `benchmarks/compiled_code.py` compiles: the commonest width for every target, and
where registers are scarcest.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

COMMANDS = Path(__file__).parents[1] / "benchmarks"
PROGRAM = """
import json, sys
from compiled_code import main
sys.exit(max([main(words) for words in json.loads(sys.argv[1])]))
"""
ROWS = ("rows_fwd", "rows_bwd")
ADDERS = ("rows_sum", "rows_laid", "rows_larger", "cells_means", "cells_larger", "cells_tilt")
ADDERS += ("cells_top", "cells_alone")  # which rank what others scored
ORDERS = (
    "order_spread",
    "order_turn",
    "order_keys",
    "order_longest",
    "order_long",
    "order_short",
    "order_few",
)

# What is compiled where registers or shared memory are scarcest: target, data type, head width.
WIDEST = ("sparse_bwd_q", "sparse_bwd_kv", "linear_bwd_q", "linear_bwd_kv", *ROWS)
SCARCE = (
    (("sm_90", "fp32", 128), (*WIDEST, "rows_laid", "cells_last", "cells_wanted")),
    (("sm_86", "fp16", 128), ("sparse_fwd", "sparse_bwd_kv", *ROWS, "cells_wide")),
    (("sm_120", "fp32", 64), ("cells_largest",)),
    (("sm_80", "fp32", 128), ("cells_largest",)),
    (("sm_120", "fp32", 128), ("sparse_bwd_q", "order_features")),
    (("sm_120", "fp32", 96), ("sparse_bwd_q",)),
)
NEARLY_SCARCE = (
    (("sm_80", "fp32", 32), ("cells_largest",)),
    (("sm_86", "fp32", 32), ("cells_largest",)),
    (("sm_100", "fp32", 32), ("cells_last",)),
    (("sm_90", "fp32", 64), ("order_features",)),
)


def compiled(tmp_path: Path, *commands: Sequence[str]) -> list[list[dict]]:
    """What each command reports, all run by one process with Triton's compiler.

    The interpreter stands in for the compiler otherwise.
    """
    outs = [tmp_path / f"{number}.json" for number in range(len(commands))]
    words = [[*command, "--out", str(out)] for command, out in zip(commands, outs, strict=True)]
    environment = ["env", "TRITON_INTERPRET=0"]
    done = subprocess.run(
        [*environment, sys.executable, "-c", PROGRAM, json.dumps(words)],
        cwd=COMMANDS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(out.read_text())["kernels"] for out in outs]
    for entry in chain(*found):
        assert entry["spilled_bytes"] == 0, entry
        assert entry["tensor_cores"] or entry["kernel"] in (*ADDERS, *ORDERS), entry
    return found


@pytest.mark.parametrize(
    "target",
    [
        *("sm_90", "gfx942"),
        *(
            pytest.param(each, marks=pytest.mark.nightly)
            for each in ("sm_80", "sm_86", "sm_100", "sm_120")
        ),
    ],
)
def test_every_kernel(target: str, tmp_path: Path) -> None:
    (entries,) = compiled(tmp_path, ["--widths", "64", "--dtypes", "bf16", "--targets", target])
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


@pytest.mark.parametrize("places", [SCARCE, pytest.param(NEARLY_SCARCE, marks=pytest.mark.nightly)])
def test_kernels_fit_where_registers_or_shared_memory_are_scarce(
    places: tuple, tmp_path: Path
) -> None:
    commands = [
        ["--targets", target, "--dtypes", dtype, "--widths", str(width), "--kernels", *kernels]
        for (target, dtype, width), kernels in places
    ]
    for entries, (place, kernels) in zip(compiled(tmp_path, *commands), places, strict=True):
        assert {entry["kernel"] for entry in entries} == set(kernels), place
