"""Sparse linear attention."""

from .layout import load, table

LISTED = ("dense", "balanced", "fast", "fast, choice alone")


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


def listed_rows() -> str:
    """Few exact blocks with summaries beside dense attention on a CPU."""
    record = load("sla-rows-cpu.json")
    header = ("tokens", "numbers", "pass", "dense", "balanced", "fast", "choice of fast", "gain")
    cases: dict[tuple[int, str, str], dict[str, float]] = {}
    for row in record["rows"]:
        case = cases.setdefault((row["tokens"], row["dtype"], row["pass"]), {})
        case[row["what"]] = row["median_ms"]
    rows = [
        (
            f"{tokens:,}",
            dtype,
            {"forward": "forward", "both": "forward and backward"}[kind],
            *(f"{found[what]:.0f} ms" if what in found else "" for what in LISTED),
            f"{found['dense'] / found['fast']:.1f}x" if "dense" in found else "",
        )
        for (tokens, dtype, kind), found in cases.items()
    ]
    first, e = record["rows"][0], record["environment"]
    return (
        f"{table(header, rows)}\n\n{first['heads']} heads of {first['width']}, medians; the gain "
        f"is that of `fast` over dense. {_growth()} Measured on {e['processor']}, {e['threads']} "
        f"threads, torch {e['torch']}."
    )


def _growth() -> str:
    """What twice the tokens cost, all lengths timed in turn."""
    times: dict[str, list[str]] = {}
    rows = [row for row in load("sla-doubling-cpu.json")["rows"] if "times_before" in row]
    for row in rows:
        times.setdefault(row["what"], []).append(f"{row['times_before']:.2f}")
    told = "; ".join(f"`{name}` {', '.join(found)}" for name, found in times.items())
    steps = ", ".join(f"{n:,}" for n in dict.fromkeys(row["tokens"] for row in rows))
    return f"Times as long as half the tokens, timed in turn, at {steps} tokens: {told}."
