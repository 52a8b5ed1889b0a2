"""A report as Markdown tables."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from recon_eval.report.statistics import Summary


def render(report: dict[str, Any], summary: Sequence[Summary]) -> str:
    """Return the report: header, means over scenes, what each number rests on, what was dropped."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    parts = [
        f"# {report['model']} on {report['dataset']}",
        f"Seed {report['seed']}. {versions}.",
        *_warned(report),
        table(
            ("protocol", "metric", "mean", "95 % interval over scenes", "scenes", "undefined"),
            [
                (
                    s.protocol,
                    s.metric,
                    number(s.mean),
                    interval(s.low, s.high),
                    s.scenes,
                    s.undefined,
                )
                for s in summary
            ],
        ),
        "## What the numbers rest on",
        table(
            ("protocol", "scene", "frames", "facts"),
            [
                (e["protocol"], e["scene"], " ".join(e["frames"]) or "all", facts(e["provenance"]))
                for e in report["entries"]
            ],
        ),
    ]
    if report["dropped"]:
        parts += ["## Dropped scenes", table(("scene", "reason"), report["dropped"].items())]
    return "\n\n".join(parts) + "\n"


def _warned(report: dict[str, Any]) -> list[str]:
    """How many scenes no mean counts, where there are such, to stand above the means."""
    dropped = len(report["dropped"])
    if not dropped:
        return []
    every = dropped + len({entry["scene"] for entry in report["entries"]})
    return [f"**{dropped} of {every} scenes dropped**; no mean counts them, reasons stand below."]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
        for row in lines
    )


def number(value: float) -> str:
    """Return four significant digits, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.4g}"


def interval(low: float, high: float) -> str:
    """Return an interval, or a dash where there is none."""
    return "-" if math.isnan(low) else f"{low:.4g} to {high:.4g}"


def facts(provenance: dict[str, Any]) -> str:
    """Return provenance on one line; long lists by their length and range."""
    return ", ".join(f"{name} {_short(value)}" for name, value in provenance.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        known = [item for item in value if isinstance(item, (int, float))]
        if len(value) > 4 and known:
            return f"{min(known):.4g} to {max(known):.4g} ({len(value)} values)"
        return "[" + " ".join(_short(item) for item in value) + "]"
    return str(value)
