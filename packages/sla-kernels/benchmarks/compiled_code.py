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
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import triton
from compiled.kernels import MULTIPLY_NOTHING, NAMES, variants
from compiled.making import report, source
from compiled.targets import DTYPES, SHARED_BYTES, TARGETS

Entry = dict[str, Any]
Place = tuple[Any, ...]


def main(words: Sequence[str] | None = None) -> int:
    """Compile what --out does not hold, and write it after each target."""
    args = arguments(words)
    known = held(args.out)
    entries = []
    for target, dtype, width in itertools.product(args.targets, args.dtypes, args.widths):
        for entry in compiled(target, dtype, width, known, args):
            known[place(entry)] = entry
            entries.append(entry)
            sys.stdout.write(json.dumps(entry) + "\n")
            sys.stdout.flush()
        if args.out:
            write(args.out, known)
    return 0 if all(map(sound, entries)) else 1


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command was told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 96, 128])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--block", nargs=2, type=int, default=[128, 64])
    parser.add_argument("--kernels", nargs="+", default=NAMES)
    parser.add_argument("--out", type=Path)
    return parser.parse_args(words)


def compiled(
    target: str, dtype: str, width: int, known: dict[Place, Entry], args: argparse.Namespace
) -> Iterator[Entry]:
    """The entries of the kernels that were asked for, compiled where none is known."""
    for name, kernel, tile, constants in variants(target, DTYPES[dtype], width, tuple(args.block)):
        if name not in args.kernels:
            continue
        entry = {"kernel": name, "target": target, "dtype": dtype, "width": width}
        entry |= {"block": args.block, "tile": vars(tile)}
        entry["source"] = source(kernel, dtype, constants).hash()[:16]
        before = known.get(place(entry), {})
        unchanged = entry.items() <= before.items()
        yield before if unchanged else entry | report(kernel, target, dtype, tile, constants)


def sound(entry: Entry) -> bool:
    """It fits, spills nothing and uses tensor cores, unless it only adds."""
    fits = entry["shared_bytes"] <= SHARED_BYTES[entry["target"]] and not entry["spilled_bytes"]
    return fits and (bool(entry["tensor_cores"]) or entry["kernel"] in MULTIPLY_NOTHING)


def place(entry: Entry) -> Place:
    """What an entry is of."""
    return (*(entry[name] for name in ("kernel", "target", "dtype", "width")), *entry["block"])


def held(path: Path | None) -> dict[Place, Entry]:
    """The entries that a file has from this Triton."""
    if path is None or not path.is_file():
        return {}
    record = json.loads(path.read_text())
    of_this = record["triton"] == triton.__version__
    return {place(entry): entry for entry in record["kernels"]} if of_this else {}


def write(path: Path, known: dict[Place, Entry]) -> None:
    """Write all entries, a line each."""
    rows = ",\n".join(map(json.dumps, known.values()))
    path.write_text(f'{{"triton": "{triton.__version__}", "kernels": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    sys.exit(main())
