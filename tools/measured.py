"""Every table of the documents: from one file of measurements to Markdown."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
MIB = 2**20


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


def gap() -> str:
    """What each way of training wins back of what sparsity and FP8 cost."""
    record = load("distill-gap.json")
    header = ("", "AbsRel", "share of the gap closed", "AUC@30", "share closed", "trained")
    rows = [_model_row(label, record[label]) for label in ("teacher", "untrained")]
    rows += [_model_row(name, way) for name, way in record["ways"].items()]
    s = record["settings"]
    return (
        f"{table(header, rows)}\n\nda3-tiny, keep {s['keep']}, FP8 {s['recipe']['fp8']}, "
        f"{s['steps']} steps on {s['train_scenes']} scenes, measured on {s['test_scenes']} unseen "
        f"scenes of {s['views']} views at {s['size']} pixels; 95 % bootstrap intervals over "
        f"scenes. {where(record['environment'])}"
    )


def _model_row(label: str, found: dict[str, Any]) -> tuple[str, ...]:
    closed = {
        metric: "{:.0%} ({:.0%} to {:.0%})".format(*(part[k] for k in ("share", "low", "high")))
        for metric, part in found.get("closed", {}).items()
    }
    means = found["means"]
    return (
        label,
        f"{means['absrel']:.4f}",
        closed.get("absrel", ""),
        f"{means['auc30']:.4f}",
        closed.get("auc30", ""),
        f"{found['trained_parameters']:,}" if "trained_parameters" in found else "",
    )


def fp8_memory() -> str:
    """A frozen FP8 stack beside bfloat16."""
    record = load("fp8-frozen-memory.json")
    rows = [
        ("bfloat16", f"{record['bfloat16_bytes'] / MIB:.1f} MiB", "1"),
        ("frozen FP8", f"{record['released_fp8_bytes'] / MIB:.1f} MiB", f"{record['ratio']:.3f}"),
    ]
    s = record["settings"]
    return (
        f"{table(('stack', 'peak, forward and backward', 'ratio'), rows)}\n\n"
        f"{s['layers']} layers of width {s['dim']}, {s['tokens']} tokens, torch {record['torch']}."
    )


def dtu() -> str:
    """The DTU protocol on a million points against a million."""
    record = load("dtu-million.json")
    seconds = ", ".join(f"{s:.1f}" for s in record["seconds"])
    return (
        f"{record['points']:,} predicted against as many reference points: {seconds} s, "
        f"{record['peak_resident_bytes'] / 1e9:.2f} GB resident, {record['workers']} cores, "
        f"{record['machine']}, Python {record['python']}."
    )


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


TABLES: dict[str, Callable[[], str]] = {
    "distill": distill,
    "gap": gap,
    "teacher": teacher,
    "attention": attention,
    "fp8-memory": fp8_memory,
    "dtu": dtu,
}
