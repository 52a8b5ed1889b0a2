"""What compiled code says: registers, what is spilled, the turns of its loops."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton

KINDS = {  # of instructions, by how their names begin
    "exp": r"MUFU\.EX2",
    "convert": r"F2F|F2I|I2F",
    "float": r"F(?:ADD|MUL|FMA|MNMX|SEL|SETP|SET)|HFMA2|MUFU",
    "copies": r"LD|ST|ATOM|RED|UTMA|UBLKCP|SHFL",
    "waits": r"BAR|DEPBAR|WARP|SYNCS|MEMBAR|ERRBAR|FENCE|NANOSLEEP",
    "branches": r"BRA|EXIT|BSSY|BSYNC|CALL|RET|NOP",
}


def nvidia(made: Any) -> dict[str, Any]:
    """Registers, spilled bytes, copies under way and the code, by NVIDIA's own tools."""
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
    """Registers, spilled bytes and the code, as the assembler's notes tell."""
    code = made.asm["amdgcn"]
    found = {
        name: int(re.search(rf"\.{name}:\s+(\d+)", code).group(1))
        for name in ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size")
    }
    spilled = found["private_segment_fixed_size"] + 4 * found["vgpr_spill_count"]
    return {"registers": found["vgpr_count"], "spilled_bytes": spilled, "code": code}


def copies_under_way(graph: str) -> int | None:
    """The least that Triton's own code leaves under way at a wait for a certain copy, if any."""
    return min(map(int, re.findall(r"async_wait %[^{\n]*\{num = (\d+)", graph)), default=None)


def turn(code: str, multiplies: str) -> dict[str, int] | None:
    """Instructions in a turn of the loop that multiplies most, by kind; what is left is addresses.

    A loop is what lies between a branch and an earlier address that it leads to; of two that
    multiply as much, the shorter.
    """
    loops = loops_of(code)
    counted = [(sum(bool(re.match(multiplies, n)) for n in loop), -len(loop)) for loop in loops]
    if not counted or not max(counted)[0]:
        return None
    found: Counter[str] = Counter()
    for name in loops[counted.index(max(counted))]:
        kind = "products" if re.match(multiplies, name) else None
        kind = kind or next((k for k, way in KINDS.items() if re.match(way, name)), "addresses")
        found[kind] += 1
    return dict(found) | {"all": sum(found.values())}


def loops_of(code: str) -> list[list[str]]:
    """The names of the instructions in every loop."""
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
    return loops
