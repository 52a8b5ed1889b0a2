"""Compile a kernel with the argument types of a real launch."""

import re
from collections import Counter
from typing import Any

import triton
from triton.compiler import ASTSource

from compiled.kernels import ORDER, SPARSE
from compiled.reading import amd, nvidia, turn
from compiled.targets import TARGETS, TENSOR_CORES
from sla_kernels.linear import kernels as linear
from sla_kernels.order import kernels as order
from sla_kernels.runtime.tiles import Tile
from sla_kernels.search import kernels as search
from sla_kernels.search import kernels_asked as asked
from sla_kernels.search import kernels_cells as cells
from sla_kernels.sparse import kernels as sparse
from sla_kernels.summary import kernels as rows
from sla_kernels.summary import kernels_rows as laid

LENGTHS = {*sparse.LENGTHS, *linear.LENGTHS, *rows.LENGTHS, *laid.LENGTHS}
LENGTHS |= {*search.LENGTHS, *asked.LENGTHS, *cells.LENGTHS, *order.LENGTHS}
NUMBERS = {"scale", "scale_log2", "eps", "absent"}
FLOATS = {"Turned", "LSE", "Delta", "Total", "DTotal", "States", "Sums", "DStates", "DSums", "Bias"}
FLOATS |= {"EntriesK", "EntriesV", "Parts", "Wanted", "Pinned", "Spread", "Spreads"}
FLOATS |= {"Gone", "Left", "Tilt", "Asked", "Features"}
LONG = {"Places", "Outside"}
INTEGERS = {"Indices", "Counts", "Offsets", "Rows", "Order", "Lists", "Opened", "Chosen", *LONG}
INTEGERS |= {"Pieces", "Bounds"}
BLOCKS = [kernel for kernel, _ in SPARSE.values()]  # their order is of blocks
BLOCKS += ORDER.values()  # and this one of all scenes' tokens


def report(kernel: Any, target: str, dtype: str, tile: Tile, constants: dict[str, Any]) -> dict:
    """Compile one kernel for one target and read the machine code."""
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    made = triton.compile(source(kernel, dtype, constants), target=TARGETS[target], options=options)
    facts = nvidia(made) if target.startswith("sm_") else amd(made)
    code = facts.pop("code")
    return {
        **facts,
        "shared_bytes": made.metadata.shared,
        "tensor_cores": dict(Counter(re.findall(TENSOR_CORES[target], code))),
        "turn": turn(code, TENSOR_CORES[target]) if target.startswith("sm_") else None,
    }


def source(kernel: Any, dtype: str, constants: dict[str, Any]) -> ASTSource:
    """The kernel with the argument types of a real launch."""
    names = kernel.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    constants |= {name: 1 for name in names if re.fullmatch(r"stride_.d", name)}
    signature = {
        name: "constexpr" if name in constants else type_of(kernel, name, dtype) for name in names
    }
    aligned = {name for name in names if signature[name][0] == "*" or name.startswith("stride_")}
    attributes = {
        (at,): [["tt.divisibility", 16]]
        for at, name in enumerate(names)
        if name in aligned and name not in constants
    }
    fixed = {(names.index(name),): value for name, value in constants.items()}
    return ASTSource(kernel, signature, constexprs=fixed, attrs=attributes)


def type_of(kernel: Any, name: str, dtype: str) -> str:
    """Triton's type of an argument that is not compiled in."""
    if name.startswith("stride_") or name in LENGTHS:
        return "i32"
    if name in NUMBERS:
        return "fp32"
    if kernel is order.keys_kernel and name == "Keys":
        return "*i64"
    if name in INTEGERS:
        of_tokens = name == "Order" and kernel not in BLOCKS
        return "*i64" if of_tokens or name in LONG else "*i32"
    summed = kernel is rows.summary_attention_sum_kernel  # its gradients are in float32
    return "*fp32" if summed or name in FLOATS else f"*{dtype}"
