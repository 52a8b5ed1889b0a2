"""The table of the README: what `lite3r distill` measures, for people new to it."""

from typing import Any

from .layout import load, table

COLUMNS = {
    "teacher": "teacher",
    "teacher, bfloat16": "teacher in 16 bits",
    "student, deployed": "**student**",
}
FEW, MANY = 8, 32  # photos
# What a row says, the number that it shows, how, and the factor to its unit.
ROWS = (
    (f"time for {MANY} photos", "latency_ms_many", "{:.2f} s", 1e-3),
    (f"time for {FEW} photos", "latency_ms", "{:.2f} s", 1e-3),
    ("memory for its weights", "weights_mb", "{:.1f} MB", 1),
    (f"working memory, {MANY} photos", "peak_memory_mb_many", "{:.0f} MB", 1),
    (f"error of depth, {FEW} photos", "abs_rel", "{:.1f} %", 100),
    (f"error of depth, {MANY} photos", "abs_rel_many", "{:.1f} %", 100),
    (f"camera score (best 100), {FEW} photos", "auc30", "{:.1f}", 100),
    (f"camera score (best 100), {MANY} photos", "auc30_many", "{:.1f}", 100),
)


def demo() -> str:
    """Teacher and student side by side, a row for each thing measured."""
    report = load("distill-da3-tiny.json")
    models = {row["label"]: row for row in report["rows"]}
    rows = [
        (what, *(shape.format(models[label][key] * unit) for label in COLUMNS))
        for what, key, shape, unit in ROWS
    ]
    return f"{table(('', *COLUMNS.values()), rows)}\n\n{_protocol(report)}"


def _protocol(report: dict[str, Any]) -> str:
    few, many = (_scenes(report[kind]) for kind in ("measurements", "measurements_many"))
    times = len(report["latencies_ms"]["teacher"])
    machine = report["environment"]
    return (
        f"Working memory: the peak beside the weights. Error of depth: the average error of a "
        f"pixel's distance, in percent, after scaling each scene once (AbsRel). Camera score: 100 "
        f"if all positions and directions are exact, 0 if all are off by 30° or more (AUC@30). "
        f"Both on computer-made scenes that neither network has seen: {few} rooms of {FEW} "
        f"photos; {many} scenes of {MANY} photos, which are harder, as fronts of houses and hills "
        f"are among them. Time: median of {times} on {machine['gpu'] or machine['processor']}, "
        f"{machine['threads']} threads."
    )


def _scenes(measured: dict[str, Any]) -> int:
    return len({entry["scene"] for entry in measured["teacher"]["entries"]})
