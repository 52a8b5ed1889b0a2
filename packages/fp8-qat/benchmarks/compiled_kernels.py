"""Compile the quantizing kernel for NVIDIA devices that are not here, and say what came out.

    python benchmarks/compiled_kernels.py --out fp8-compiled.json

Each form that a transformer block uses is compiled for each device; the machine code is
disassembled. A form whose code spills registers, casts to FP8 in software or divides
inexactly stops the program. Needs Triton, no GPU; TRITON_INTERPRET must not be set.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import fp8_qat
from fp8_qat.fused.kernels import _quantize_rows_kernel
from fp8_qat.fused.op import rounds_first, warps
from fp8_qat.numerics.formats import E4M3

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TARGETS = (89, 90, 100, 120)
BEFORE = ("none", "layer_norm", "gelu")
RULES = {"divide": None, "multiply_pow2": 128, "mx_rceil": 32}  # and the width of a run
COLUMNS = (1024, 4096)
POINTERS = {"x_ptr": "*bf16", "weight_ptr": "*fp32", "bias_ptr": "*fp32", "scale_ptr": "*fp32"}
NUMBERS = {"columns": "i32", "row_stride": "i32", "runs": "i32", "eps": "fp32"}
CAST_PTX = re.compile(r"cvt\.rn\.satfinite\.e4m3x2\.(?:f32|f16x2)")  # PTX ISA 8.1, "cvt"
CAST_SASS = re.compile(r"F2FP\.SATFINITE\.E4M3\.F(?:32|16)\S*")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One use of the kernel: what comes before, the scale rule, its run, and the row length."""

    before: str
    rule: str
    width: int
    columns: int


def forms() -> list[Form]:
    """Every form that a block of width 1024 uses, whose hidden layer has 4096 values."""
    return [
        Form(before=before, rule=rule, width=width or columns, columns=columns)
        for before, (rule, width), columns in product(BEFORE, RULES.items(), COLUMNS)
    ]


def compiled(form: Form, target: int) -> Any:
    """Compile one form as `fp8_qat.fused.op` launches it."""
    block = triton.next_power_of_2(form.columns)
    constants = {
        "FMAX": E4M3.max,
        "LARGEST": 3.3895313892515355e38,
        "BEFORE": form.before,
        "RULE": form.rule,
        "WIDTH": triton.next_power_of_2(form.width),
        "BLOCK": block,
        "MANTISSA": E4M3.mantissa_bits,
        "SMALLEST": 2.0**E4M3.min_exponent,
        "ROUND_FIRST": rounds_first(target),
    }
    known = POINTERS | {"codes_ptr": "*fp8e4nv"} | NUMBERS
    names = _quantize_rows_kernel.arg_names
    # As a launch specialises it: pointers and strides that 16 divides, so that loads are wide.
    divisible = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name in (*POINTERS, "codes_ptr", "columns", "row_stride")
    }
    source = ASTSource(
        fn=_quantize_rows_kernel,
        signature={name: known.get(name, "constexpr") for name in names},
        constexprs=constants,
        attrs=divisible,
    )
    options = {"num_warps": warps(block)}
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)


def evidence(form: Form, target: int) -> dict[str, Any]:
    """Read from the machine code of one form what decides whether it is good."""
    code = compiled(form, target)
    ptx = code.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code.asm["cubin"])
        file.flush()
        usage = tool("cuobjdump", "--dump-resource-usage", file.name)
        sass = tool("cuobjdump", "-sass", file.name)
    resources = {key: int(value) for key, value in re.findall(r"([A-Z]+):(\d+)", usage)}
    return asdict(form) | {
        "sm": target,
        "warps": code.metadata.num_warps,
        "registers": resources["REG"],
        "stack_bytes": resources["STACK"],
        "local_bytes": resources["LOCAL"],
        "spill_instructions": len(re.findall(r"\b(?:STL|LDL)\b", sass)),
        "shared_bytes": code.metadata.shared,
        "fp8_casts_ptx": len(CAST_PTX.findall(ptx)),
        "fp8_casts_sass": len(CAST_SASS.findall(sass)),
        "ieee_divisions": ptx.count("div.rn.f32"),
        "inexact_divisions": ptx.count("div.full.f32") + ptx.count("div.approx"),
        "widest_load_bits": max(load_bits(sass)),
    }


def tool(name: str, *arguments: str) -> str:
    """Run one of the binary utilities that come with Triton."""
    command = [str(TOOLS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def load_bits(sass: str) -> list[int]:
    """Widths of the loads from global memory in a disassembly."""
    found = re.findall(r"\bLDG\.E(?:\.\w+)*", sass)
    return [next((int(w) for w in ("128", "64") if f".{w}" in load), 32) for load in found]


def problem(row: dict[str, Any]) -> str | None:
    """Say what is wrong with the machine code of one form; None if nothing is."""
    if row["stack_bytes"] or row["local_bytes"] or row["spill_instructions"]:
        return "it spills registers"
    if not row["fp8_casts_ptx"] or not row["fp8_casts_sass"]:
        return "it does not cast to FP8 with the device's instruction"
    if row["inexact_divisions"] or (not row["ieee_divisions"] and row["rule"] == "divide"):
        return "it does not divide as IEEE 754 says"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sm", type=int, nargs="+", default=list(TARGETS))
    parser.add_argument("--columns", type=int, nargs="+", default=list(COLUMNS))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chosen = [form for form in forms() if form.columns in arguments.columns]
    rows = [evidence(form, target) for target in arguments.sm for form in chosen]
    for row in rows:
        if found := problem(row):
            raise SystemExit(f"{found}: {row}")
    versions = {
        "fp8-qat": fp8_qat.__version__,
        "triton": version("triton"),
        "python": platform.python_version(),
    }
    arguments.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
    most = max(row["registers"] for row in rows)
    sys.stdout.write(f"{len(rows)} kernels, none spills, at most {most} registers\n")


if __name__ == "__main__":
    main()
