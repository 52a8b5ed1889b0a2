"""Compile every Triton kernel for GPUs that need not be here, and report what came out.

    python benchmarks/compiled_code.py --out compiled.json
    python benchmarks/compiled_code.py --targets sm_90 gfx942 --widths 64 --dtypes bf16

A call goes on where another ended: what --out holds of kernels as they are is not compiled again.

Each entry has registers, shared memory, spilled bytes, the tensor-core instructions and, on NVIDIA,
how many copies into shared memory are still under way where a loop waits for the oldest one, and
what a thread executes in a turn of the loop that multiplies most.
Exits with 1 where a kernel does not fit, spills or uses no tensor cores.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sla_kernels.linear import kernels as linear
from sla_kernels.order import kernels as order
from sla_kernels.order.launch import BEGIN, FEATURES, OF_PIECE, PIECE, warps
from sla_kernels.order.median import OWN, TURNS
from sla_kernels.runtime.grid import next_power
from sla_kernels.runtime.tiles import Tile, precision, tiles_of
from sla_kernels.search import kernels as search
from sla_kernels.search import kernels_asked as asked
from sla_kernels.search import kernels_cells as cells
from sla_kernels.search.launch import ASKED, LARGEST, MOST, PARTS, SCORED, walking
from sla_kernels.search.launch_cells import WANTED
from sla_kernels.search.walk import PART
from sla_kernels.sparse import kernels as sparse
from sla_kernels.sparse import kernels_backward as sparse_backward
from sla_kernels.summary import kernels as rows
from sla_kernels.summary import kernels_rows as laid
from sla_kernels.summary.launch import CHUNK, STEP, chunk_warps
from sla_kernels.summary.weights import LEAST_MASS

TARGETS = {
    **{f"sm_{sm}": GPUTarget("cuda", sm, 32) for sm in (80, 86, 90, 100, 120)},
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
LENGTHS = {*sparse.LENGTHS, *linear.LENGTHS, *rows.LENGTHS, *laid.LENGTHS}
LENGTHS |= {*search.LENGTHS, *asked.LENGTHS, *cells.LENGTHS, *order.LENGTHS}
FLOATS = {"LSE", "Delta", "Total", "DTotal", "States", "Sums", "DStates", "DSums"}
FLOATS |= {
    "Bias",
    "EntriesK",
    "EntriesV",
    "Parts",
    "Wanted",
    "Pinned",
    "Spread",
    "Spreads",
    "Moved",
    "Left",
}
FLOATS |= {"Tilt", "Asked", "Features"}
LONG = {"Places", "Outside"}
INTEGERS = {"Indices", "Counts", "Offsets", "Rows", "Order", "Lists", "Opened", "Chosen", *LONG}
INTEGERS |= {"Pieces", "Bounds"}
SPARSE = {
    "sparse_fwd": (sparse.sparse_attention_forward_kernel, "forward"),
    "sparse_bwd_q": (sparse_backward.sparse_attention_backward_q_kernel, "backward_q"),
    "sparse_bwd_kv": (sparse_backward.sparse_attention_backward_kv_kernel, "backward_kv"),
}
LINEAR = {
    "linear_state": (linear.linear_attention_state_kernel, "state"),
    "linear_bwd_state": (linear.linear_attention_state_kernel, "state"),
    "linear_fwd": (linear.linear_attention_forward_kernel, "linear"),
    "linear_bwd_q": (linear.linear_attention_backward_q_kernel, "linear"),
    "linear_bwd_kv": (linear.linear_attention_backward_kv_kernel, "linear"),
}
HALVES = ("order_longest", "order_long", "order_short", "order_few")
ORDER = {
    "order_features": order.features_kernel,
    "order_spread": order.spread_kernel,
    "order_keys": order.keys_kernel,
    **dict.fromkeys(HALVES, order.halve_kernel),
}
HALVED = dict(  # tokens that a program begins with, and how often it halves them
    zip(HALVES, zip(BEGIN, (1, 2, 3, 4), strict=True), strict=True)
)
BLOCKS = [kernel for kernel, _ in SPARSE.values()]  # their order is of blocks
BLOCKS += ORDER.values()  # and this one of all scenes' tokens
ROWS = {
    "rows_fwd": (rows.summary_attention_forward_kernel, "rows_forward"),
    "rows_bwd": (rows.summary_attention_backward_kernel, "rows_backward"),
    "rows_sum": (rows.summary_attention_sum_kernel, None),
    "rows_laid": (laid.rows_kernel, None),
    "rows_larger": (laid.larger_rows_kernel, None),
    "cells_asked": (asked.asked_kernel, None),
    "cells_largest": (asked.largest_cells_kernel, None),
    "cells_top": (search.open_cells_kernel, None),
    "cells_last": (search.open_cells_kernel, None),
    "cells_many": (search.open_cells_kernel, None),
    "cells_means": (cells.cell_means_kernel, None),
    "cells_larger": (cells.larger_means_kernel, None),
    "cells_wanted": (cells.wanted_kernel, None),
    "cells_tilt": (cells.tilt_kernel, None),
}
ROWS_BLOCK_Q = 64  # the default block of `select_rows`
SIZE = 4  # its key block
AXES = 16  # that an order looks at
ADDS = Tile(m=CHUNK, n=CHUNK, warps=4, stages=3)  # what Triton takes where nothing is said
FIXED = {
    "rows_sum": Tile(m=1, n=STEP, warps=1, stages=1),
    "rows_larger": Tile(m=1, n=STEP, warps=1, stages=3),
    "cells_larger": Tile(m=1, n=STEP, warps=1, stages=3),
    "cells_means": ADDS,
    "cells_tilt": ADDS,
    "cells_asked": ASKED,
    "cells_largest": LARGEST,
    "cells_wanted": WANTED,
}
MULTIPLY_NOTHING = set(FIXED) - {"cells_asked", "cells_largest", "cells_wanted"}
MULTIPLY_NOTHING |= {"cells_top", "rows_laid"}
MULTIPLY_NOTHING |= set(ORDER) - {"order_features"}
CANDIDATES = {"cells_top": MOST, "cells_last": 512, "cells_many": SCORED}  # 512 as by default
SHARED_BYTES = {  # what one program may have
    "sm_80": 163 << 10,
    "sm_86": 99 << 10,
    "sm_90": 227 << 10,
    "sm_100": 227 << 10,
    "sm_120": 99 << 10,
    "gfx942": 64 << 10,
}
TENSOR_CORES = {
    "sm_80": r"\bHMMA",
    "sm_86": r"\bHMMA",
    "sm_90": r"\bHG?MMA",
    "sm_100": r"\b(?:UTC\w*MMA|HMMA)",
    "sm_120": r"\bHMMA",
    "gfx942": r"v_mfma",
}


KINDS = {  # of instructions, by how their names begin
    "exp": r"MUFU\.EX2",
    "convert": r"F2F|F2I|I2F",
    "float": r"F(?:ADD|MUL|FMA|MNMX|SEL|SETP|SET)|HFMA2|MUFU",
    "copies": r"LD|ST|ATOM|RED|UTMA|UBLKCP|SHFL",
    "waits": r"BAR|DEPBAR|WARP|SYNCS|MEMBAR|ERRBAR|FENCE|NANOSLEEP",
    "branches": r"BRA|EXIT|BSSY|BSYNC|CALL|RET|NOP",
}


def variants(
    target: str, dtype: torch.dtype, width: int, block: tuple[int, int]
) -> Iterator[tuple[str, Any, Tile, dict[str, Any]]]:
    """Every kernel with its tile and what is compiled into it."""
    tiles = tiles_of(target, dtype, width)
    common = {"D": width, "BLOCK_D": next_power(width), "PRECISION": precision(target, dtype)}
    for name, (kernel, entry) in SPARSE.items():
        tile = getattr(tiles, entry).within(block)
        sizes = {"BLOCK_Q": block[0], "BLOCK_K": block[1], "TILE_M": tile.m, "TILE_N": tile.n}
        yield name, kernel, tile, common | sizes
    for name, (kernel, entry) in ROWS.items():
        if name == "rows_laid":
            tile = replace(ADDS, warps=chunk_warps(width))
        elif entry is None:
            tile = (
                walks(name, dtype.itemsize * next_power(width))
                if name in CANDIDATES
                else FIXED[name]
            )
        else:
            tile = getattr(tiles, entry).of_queries(ROWS_BLOCK_Q)
        sizes = {"BLOCK_Q": ROWS_BLOCK_Q, "TILE_M": tile.m, "TILE_N": tile.n, "STEP": STEP}
        sizes |= {"PARTS": tile.m, "TILE": tile.n, "PART": PART}
        if name == "cells_wanted":
            sizes |= {"TILE": tile.m, "BLOCKS": tile.n, "LEAST": LEAST_MASS}
            sizes |= {"PRECISION": precision(target, torch.float32)}
        if name in CANDIDATES:
            sizes |= {"TILES": CANDIDATES[name] // tile.n, "STEP": LARGEST.n, "ROWS": PARTS // 2}
        sizes |= {"OF_BLOCK": ROWS_BLOCK_Q // PART, "SIZE": SIZE, "CHUNK": CHUNK}
        sizes |= {"TOP": name == "cells_top", "LAST": name in ("cells_last", "cells_many")}
        sizes |= {"SUMMARIES": True, "ORDERED": True}
        yield name, kernel, tile, common | sizes
    for name, kernel in ORDER.items():
        tile, (most, steps) = orders(name), HALVED.get(name, (1, 1))
        halved = {"WIDTH": most, "STEPS": steps, "TURNS": TURNS if most <= OWN else 0}
        sizes = {"AXES": AXES, "TILE": tile.m, "STEP": tile.n, "OF_PIECE": OF_PIECE}
        yield name, kernel, tile, common | sizes | halved
    flags = {"ADD": True, "SCOPED": False, "HAS_BIAS": True, "HAS_BASE": True}
    fixed = {"FEATURE": "softmax", "BLOCK_Q": 0, "BLOCK_K": 0, **flags}
    for name, (kernel, entry) in LINEAR.items():
        tile = getattr(tiles, entry).within((64, next_power(width)))
        sizes = {"TILE": tile.m, "PART": tile.n, "SCALED": name == "linear_bwd_state"}
        yield name, kernel, tile, common | fixed | sizes


def walks(name: str, row: int) -> Tile:
    """The tile of a kernel of the walk."""
    found = walking(CANDIDATES[name], ROWS_BLOCK_Q, row, top=name == "cells_top")
    return Tile(m=PARTS, n=found["TILE"], warps=found["num_warps"], stages=found["num_stages"])


def orders(name: str) -> Tile:
    """The tile of a kernel of the order."""
    if name in HALVED:
        most = HALVED[name][0]
        return Tile(m=most, n=1, warps=warps(most), stages=ADDS.stages)
    return FEATURES if name == "order_features" else PIECE


def source(kernel: Any, dtype: str, constants: dict[str, Any]) -> ASTSource:
    """The kernel with the argument types of a real launch."""

    def type_of(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name.startswith("stride_") or name in LENGTHS:
            return "i32"
        if name in ("scale", "scale_log2", "eps", "absent"):
            return "fp32"
        if kernel is order.keys_kernel and name == "Keys":
            return "*i64"
        if name in INTEGERS:
            of_tokens = name == "Order" and kernel not in BLOCKS
            return "*i64" if of_tokens or name in LONG else "*i32"
        summed = kernel is rows.summary_attention_sum_kernel  # its gradients are in float32
        return "*fp32" if summed or name in FLOATS else f"*{dtype}"

    names = kernel.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    constants |= {name: 1 for name in names if re.fullmatch(r"stride_.d", name)}
    signature = {name: type_of(name) for name in names}
    aligned = {name for name in names if signature[name][0] == "*" or name.startswith("stride_")}
    attributes = {
        (at,): [["tt.divisibility", 16]]
        for at, name in enumerate(names)
        if name in aligned and name not in constants
    }
    fixed = {(names.index(name),): value for name, value in constants.items()}
    return ASTSource(kernel, signature, constexprs=fixed, attrs=attributes)


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


def turn(code: str, multiplies: str) -> dict[str, int] | None:
    """Instructions in a turn of the loop that multiplies most, by kind; what is left is addresses.

    A loop is what lies between a branch and an earlier address that it leads to; of two that
    multiply as much, the shorter.
    """
    lines = [
        (int(at, 16), name, line)
        for at, line, name in re.findall(
            r"/\*([0-9a-f]{4,})\*/\s+((?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)[^;]*);", code
        )
    ]
    loops = []
    for at, name, line in lines:
        to = re.search(r"0x([0-9a-f]+)", line) if name.startswith("BRA") else None
        if to and int(to[1], 16) < at:
            loops.append([n for where, n, _ in lines if int(to[1], 16) <= where <= at])
    counted = [(sum(bool(re.match(multiplies, n)) for n in loop), -len(loop)) for loop in loops]
    if not counted or not max(counted)[0]:
        return None
    found: Counter[str] = Counter()
    for name in loops[counted.index(max(counted))]:
        kind = "products" if re.match(multiplies, name) else None
        kind = kind or next((k for k, way in KINDS.items() if re.match(way, name)), "addresses")
        found[kind] += 1
    return dict(found) | {"all": sum(found.values())}


def copies_under_way(graph: str) -> int | None:
    """The least that Triton's own code leaves under way at a wait for a certain copy, if any."""
    return min(map(int, re.findall(r"async_wait %[^{\n]*\{num = (\d+)", graph)), default=None)


def nvidia(made: Any) -> dict[str, Any]:
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run(
                [str(tools / "cuobjdump"), flag, file.name],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for flag in ("--dump-resource-usage", "--dump-sass")
        )
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    return {
        "registers": int(registers),
        "spilled_bytes": int(stack),
        "copies_under_way": copies_under_way(made.asm["ttgir"]),
        "code": code,
    }


def amd(made: Any) -> dict[str, Any]:
    code = made.asm["amdgcn"]
    found = {
        name: int(re.search(rf"\.{name}:\s+(\d+)", code).group(1))
        for name in ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size")
    }
    spilled = found["private_segment_fixed_size"] + 4 * found["vgpr_spill_count"]
    return {"registers": found["vgpr_count"], "spilled_bytes": spilled, "code": code}


def sound(entry: dict[str, Any]) -> bool:
    """It fits, spills nothing and uses tensor cores, unless it only adds."""
    fits = entry["shared_bytes"] <= SHARED_BYTES[entry["target"]] and not entry["spilled_bytes"]
    return fits and (bool(entry["tensor_cores"]) or entry["kernel"] in MULTIPLY_NOTHING)


def place(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What an entry is of."""
    return (*(entry[name] for name in ("kernel", "target", "dtype", "width")), *entry["block"])


def held(path: Path | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The entries that a file has from this Triton."""
    if path is None or not path.is_file():
        return {}
    record = json.loads(path.read_text())
    of_this = record["triton"] == triton.__version__
    return {place(entry): entry for entry in record["kernels"]} if of_this else {}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 96, 128])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--block", nargs=2, type=int, default=[128, 64])
    parser.add_argument("--kernels", nargs="+", default=[*SPARSE, *LINEAR, *ROWS, *ORDER])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    known = held(args.out)
    entries = []
    for target, dtype, width in itertools.product(args.targets, args.dtypes, args.widths):
        for name, kernel, tile, constants in variants(
            target, DTYPES[dtype], width, tuple(args.block)
        ):
            if name not in args.kernels:
                continue
            entry = {"kernel": name, "target": target, "dtype": dtype, "width": width}
            entry |= {"block": args.block, "tile": vars(tile)}
            entry["source"] = source(kernel, dtype, constants).hash()[:16]
            before = known.get(place(entry), {})
            if not entry.items() <= before.items():
                before = entry | report(kernel, target, dtype, tile, constants)
            known[place(before)] = before
            entries.append(before)
            sys.stdout.write(json.dumps(before) + "\n")
            sys.stdout.flush()
        if args.out:
            rows = ",\n".join(map(json.dumps, known.values()))  # a line each
            args.out.write_text(f'{{"triton": "{triton.__version__}", "kernels": [\n{rows}\n]}}\n')
    return 0 if all(map(sound, entries)) else 1


if __name__ == "__main__":
    sys.exit(main())
