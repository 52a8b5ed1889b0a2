"""Fill the tables of the documents from the measurements under benchmarks/results.

    python tools/tables.py            rewrite the documents
    python tools/tables.py --check    fail if a document differs from its measurements

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = ("README.md", "docs/benchmarks.md")
MARKER = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def distill() -> str:
    """Teacher, training-free student and distilled student."""
    report = load("distill-da3-tiny.json")
    header = ("", "AbsRel", "delta1", "rotation", "direction", "AUC@30", "latency", "peak memory")
    rows = [
        (
            row["label"],
            f"{row['absrel']:.4f}",
            f"{row['delta1']:.4f}",
            f"{row['rotation_degrees']:.2f}°",
            f"{row['translation_degrees']:.2f}°",
            f"{row['auc30']:.4f}",
            f"{row['latency_ms']:.0f} ms",
            f"{row['peak_memory_mb']:.0f} MB",
        )
        for row in report["rows"]
    ]
    facts = "; ".join(f"{name}: {value}" for name, value in report["facts"])
    student = report["rows"][-1]
    counts = (
        f"density {student['density']:.3f}, {student['trained_parameters']:,} trained parameters"
    )
    notes = " ".join(report["notes"])
    return f"{table(header, rows)}\n\n{facts}; {counts}. {notes}"


def teacher() -> str:
    """The bundled teacher beside its baselines."""
    record = load("teacher-da3-tiny.json")
    header = (
        "predictor",
        "px",
        "views",
        "scenes",
        "AbsRel",
        "delta1",
        "rotation",
        "direction",
        "AUC@30",
    )
    rows = [
        (
            row["predictor"],
            str(row["size"]),
            str(row["views"]),
            str(row["scenes"]),
            f"{row['abs_rel']:.3f}",
            f"{row['delta1']:.3f}",
            *(
                "" if row[key] is None else f"{row[key]:.{digits}f}{unit}"
                for key, digits, unit in (
                    ("rotation_degrees", 1, "°"),
                    ("direction_degrees", 1, "°"),
                    ("auc30", 3, ""),
                )
            ),
        )
        for row in record["rows"]
    ]
    return f"{table(header, rows)}\n\n{where(record['environment'])}"


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


TABLES: dict[str, Callable[[], str]] = {
    "distill": distill,
    "teacher": teacher,
    "attention": attention,
}


def load(name: str) -> dict[str, Any]:
    """Read one file of measurements."""
    return json.loads((RESULTS / name).read_text())


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a Markdown table."""
    names = list(header)
    lines = ["| " + " | ".join(cells) + " |" for cells in (names, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(names), *lines[1:]])


def where(environment: dict[str, Any]) -> str:
    """Say what the numbers were measured on."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    machine = environment["gpu"] or f"{environment['processor']}, {environment['cores']} cores"
    return f"Measured on {machine}; {versions}."


def filled(text: str) -> str:
    """Return a document with every table made anew."""
    return MARKER.sub(lambda m: f"{m[1]}{TABLES[m['name']]()}\n{m[3]}", text)


def main(*arguments: str) -> None:
    """Rewrite the documents, or check them."""
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text()
        after = filled(before)
        if "--check" in arguments and after != before:
            sys.exit(f"{name} differs from its measurements: run python tools/tables.py")
        path.write_text(after)


if __name__ == "__main__":
    main(*sys.argv[1:])
