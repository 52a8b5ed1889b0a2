"""Sparse linear attention."""

from .layout import load, table


def attention() -> str:
    """Sparse linear attention beside dense attention on a CPU."""
    record = load("sla-cpu.json")
    header = ("contender", "forward", "peak", "forward and backward", "peak")
    rows = [
        (
            entry["contender"],
            *(
                cell
                for part in ("forward", "forward_backward")
                for cell in (
                    f"{1000 * entry[part]['median']:.0f} ms",
                    f"{entry[part]['peak_bytes'] / 2**20:.0f} MiB",
                )
            ),
        )
        for entry in record["entries"]
    ]
    s, m = record["settings"], record["machine"]
    return (
        f"{table(header, rows)}\n\n{s['tokens'][0]} tokens, {s['heads']} heads of {s['width']}, "
        f"keep {s['keep'][0]}, {s['dtype']}, medians of {s['repetitions']}. "
        f"Measured on {m['cpu']}, {m['threads']} threads, torch {m['torch']}."
    )
