"""Whole networks: our rows beside each other, and beside upstream."""

import itertools
from collections.abc import Iterator
from statistics import median
from typing import Any

from .layout import MIB, load, table, where


def speed() -> str:
    """Every variant of a backbone, over views and sizes."""
    record = load("speed-da3-tiny-cpu.json")
    header = (
        "views",
        "pixels",
        "variant",
        "error",
        "median",
        "fastest to slowest",
        "views a second",
        "working memory",
        "weights",
        "GFLOP",
    )
    lines = [line for result in record["results"] for line in _speed_lines(result)]
    return f"{table(header, lines)}\n\n{where(record['environment'])}"


def _speed_lines(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    size = f"{result['width']} x {result['height']}"
    for row in result["rows"]:
        start = (str(result["views"]), size, row["variant"])
        if "not_run" in row:
            yield (*start, "", f"not run: {row['not_run']}", *[""] * 5)
            continue
        gflop = row["gflop"]
        yield (
            *start,
            "" if row["error"] is None else f"{row['error']:.2g}",
            f"{row['latency_ms']:.0f} ms",
            f"{row['fastest_ms']:.0f} to {row['slowest_ms']:.0f} ms",
            f"{row['views_per_second']:.1f}",
            f"{row['working_memory_mb']:.0f} MB",
            f"{row['weights_mb']:.0f} MB",
            "" if gflop is None else f"{gflop:.1f}",
        )


ISSUED, MULTIPLIED, EXPONENTIALS = 4, 4096, 16
"""Of a processor of sm_90 in a cycle: instructions of warps, operations of tensor cores on 16 bits,
exponentials (CUDA C++ programming guide, arithmetic instructions; H100 whitepaper)."""
PRODUCTS = {"sparse_fwd": 2, "sparse_bwd_q": 3, "sparse_bwd_kv": 4, "rows_fwd": 2, "rows_bwd": 5}


def compiled_attention() -> str:
    """What ahead-of-time compilation says of the attention kernels, at their worst."""
    records = [load(name) for name in ("sla-compiled.json", "sla-rows-compiled.json")]
    rows = [row for record in records for row in record["kernels"]]
    header = ("target", "kernels", "registers", "spilled bytes", "shared memory", "tensor cores")
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        mine = [row for row in rows if row["target"] == target]
        found = sorted({name for row in mine for name in row["tensor_cores"]})
        lines.append(
            (
                target,
                str(len(mine)),
                f"at most {max(row['registers'] for row in mine)}",
                str(max(row["spilled_bytes"] for row in mine)),
                f"at most {max(row['shared_bytes'] for row in mine) / 1024:.0f} KiB",
                ", ".join(found),
            )
        )
    return table(header, lines)


def compiled_loops() -> str:
    """What the loops of attention issue on an H100 beside what its units need for a turn."""
    records = [load(name) for name in ("sla-compiled.json", "sla-rows-compiled.json")]
    rows = {
        (row["kernel"], row["dtype"], row["width"]): row
        for record in records
        for row in record["kernels"]
        if row["target"] == "sm_90"
    }
    kinds = ("exp", "convert", "float", "copies", "addresses")
    header = (
        "kernel",
        "width",
        "tile",
        "instructions",
        *kinds,
        "issue",
        "tensor cores",
        "exp units",
    )
    lines = []
    for width, (name, products) in itertools.product((64, 128), PRODUCTS.items()):
        row = rows[name, "bf16", width]
        tile, turn = row["tile"], row["turn"]
        scores = tile["m"] * tile["n"]
        cycles = (
            turn["all"] * tile["warps"] / ISSUED,
            products * 2 * scores * row["width"] / MULTIPLIED,
            scores / EXPONENTIALS,
        )
        counts = (str(turn.get(kind, 0)) for kind in kinds)
        shape = f"{tile['m']} x {tile['n']}, {tile['warps']} warps"
        what = (name, str(width), shape, str(turn["all"]))
        lines.append((*what, *counts, *(f"{c:.0f}" for c in cycles)))
    return table(header, lines)


def upstream() -> str:
    """Depth Anything 3 here beside its public wheel."""
    names = ("da3-upstream", "da3-upstream-base", "da3-upstream-small")
    records = [load(f"{name}.json") for name in names]
    header = ("", "here", "wheel", "faster", "peak here", "peak of the wheel", "ratio")
    first = records[0]
    return (
        f"{table(header, map(_upstream_line, records))}\n\nMedian processor time; peaks beyond the "
        f"weights. Measured on {first['processor']}, {first['threads']} thread, "
        f"torch {first['torch']}, depth-anything-3 0.1.1."
    )


def _upstream_line(record: dict[str, Any]) -> tuple[str, ...]:
    here, wheel = (median(record["cpu_seconds"][name]) for name in ("here", "upstream"))
    peaks = record["peak_bytes_beyond_weights"]
    return (
        record["what"],
        f"{here:.2f} s",
        f"{wheel:.2f} s",
        f"{record['speedup']:.2f} times",
        f"{peaks['here'] / MIB:.0f} MiB",
        f"{peaks['upstream'] / MIB:.0f} MiB",
        f"{record['memory_ratio']:.2f}",
    )


def photographs() -> str:
    """Two hundred photographs on a CPU."""
    record = load("reconstruct-200.json")
    rows = [
        (
            f"`{run['command']}`",
            f"{run['seconds']:.0f} s",
            f"{run['peak_resident_bytes'] / 1e9:.2f} GB",
        )
        for run in record["runs"].values()
    ]
    width, height = record["photo_size"]
    return (
        f"{table(('', 'wall time', 'resident at the peak'), rows)}\n\n{record['photos']} "
        f"photographs of {width} x {height} pixels. {where(record['environment'])}"
    )


def limit() -> str:
    """How near students come to the network without global attention."""
    kinds = ("da3-tiny", "da3-tiny-busy", "da3-small")
    records = [load(f"limit-{kind}-cpu.json") for kind in kinds]
    header = ("network", "views", "pixels", "dense", "dense by products", "balanced", "fast")
    header += ("limit", "balanced of the limit", "fast of the limit", "fast against dense")
    lines = [_limit_line(record, row) for record in records for row in record["rows"]]
    return f"{table(header, lines)}\n\n{where(records[0]['environment'])}"


def _limit_line(record: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    height, width = row["size"]
    ms, share = row["fastest_ms"], row["of_limit"]
    beside = f", beside {record['busy']} busy processes" if record["busy"] else ""
    return (
        f"{record['backbone']}{beside}",
        str(row["views"]),
        f"{width} x {height}",
        f"{ms['dense']:.0f} ms",
        f"{ms['products']:.0f} ms" if "products" in ms else "not measured",
        *(f"{ms[name]:.0f} ms" for name in ("balanced", "fast", "limit")),
        f"{share['balanced']:.0%}",
        f"{share['fast']:.0%}",
        f"{row['times_dense']['fast']:.2f}x",
    )
