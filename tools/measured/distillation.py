"""The bundled teacher, its student, and what distillation wins back."""

from typing import Any

from .layout import load, table, where


def distill_fast() -> str:
    """The same command with the recipe that reads half as many keys exactly."""
    return f"With `--recipe fast`: {load('distill-fast-da3-tiny.json')['summary']}"


def distill_vggt() -> str:
    """The same command with the other bundled network."""
    return f"With `--backbone vggt-tiny`: {load('distill-vggt-tiny.json')['summary']}"


def distill() -> str:
    """Teacher, training-free student and distilled student."""
    report = load("distill-da3-tiny.json")
    settings = ("AbsRel", "AUC@30", "latency", "working memory")
    header = (
        "",
        *(f"{name}, 8 views" for name in settings),
        *(f"{name}, 32 views" for name in settings),
        "weights",
        "file",
    )
    rows = [
        (
            row["label"],
            *(
                "" if row.get(key + ending) is None else f"{row[key + ending]:{shape}}"
                for ending in ("", "_many")
                for key, shape in (
                    ("abs_rel", ".4f"),
                    ("auc30", ".4f"),
                    ("latency_ms", ".0f"),
                    ("peak_memory_mb", ".0f"),
                )
            ),
            *("" if key not in row else f"{row[key]:.1f}" for key in ("weights_mb", "disk_mb")),
        )
        for row in report["rows"]
    ]
    facts = "; ".join(f"{name}: {value}" for name, value in report["facts"])
    student = report["rows"][-1]
    counts = (
        f"density {student['density']:.3f}, {student['trained_parameters']:,} trained parameters"
    )
    notes = " ".join(report["notes"])
    return (
        f"{report['summary']} {report.get('about', '')}".rstrip() + f"\n\n{table(header, rows)}\n\n"
        f"Latency in ms, memory in MB. {facts}; {counts}. {notes}"
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
        f"{means['abs_rel']:.4f}",
        closed.get("abs_rel", ""),
        f"{means['auc30']:.4f}",
        closed.get("auc30", ""),
        f"{found['trained_parameters']:,}" if "trained_parameters" in found else "",
    )


def teacher() -> str:
    """The bundled teacher beside its baselines."""
    return _teacher("teacher-da3-tiny.json")


def teacher_vggt() -> str:
    """The same of the small VGGT."""
    return _teacher("teacher-vggt-tiny.json")


def _teacher(name: str) -> str:
    record = load(name)
    header = (
        "predictor",
        "world",
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
            row["world"],
            f"{row['width']} x {row['height']}",
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


def overhead() -> str:
    """What the loop costs beside the same passes written bare."""
    record = load("distill-overhead.json")
    wall = record["overhead"]["wall"]
    low, high = (f"{100 * end:.2f}" for end in wall["interval_95"])
    s = record["options"]
    return (
        f"{100 * wall['median']:.2f} % of the time of a step (95 % interval {low} to {high} %): "
        f"{s['steps']} steps of {s['views']} views of {s['tokens']} tokens, {s['depth']} layers of "
        f"width {s['width']}, torch {record['torch']}, {record['threads']} threads."
    )


def train_memory() -> str:
    """Memory of distilling the projections of a full-size backbone on a CPU."""
    record = load("train-memory-da3-large.json")
    s = record["settings"]
    return (
        f"{s['backbone']}, {s['views']} views of {s['size']} pixels, "
        f"{record['trained_parameters']:,} trained parameters: "
        f"{record['peak_resident_bytes'] / 1e9:.2f} GB resident at the peak, all in float32 but "
        f"the frozen FP8 weights. On a GPU: not measured; `train_memory.py --device cuda` does. "
        f"{where(record['environment'])}"
    )
