"""Results of `lite3r bench speed` as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from lite3r.bench.parts import PARTS

TITLES = (
    "median ms",
    "fastest - slowest",
    "views/s",
    "working MB",
    "weights MB",
    "GFLOP",
    "speed-up",
    "attention / blocks / rest ms",
)
BASELINE = "dense bfloat16"


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Tables, one a setting; speed-up is over dense bfloat16."""
    return "\n".join(_table(result) for result in results)


def heading(result: Mapping[str, Any]) -> str:
    """What a table measures."""
    return (
        f"{result['backbone']} ({result['weights']} weights), {result['views']} views of "
        f"{result['width']} x {result['height']}"
    )


def _table(result: Mapping[str, Any]) -> str:
    rows = result["rows"]
    base = next((r.get("latency_ms") for r in rows if r["variant"] == BASELINE), None)
    lines = [f"### {heading(result)}", "", f"| variant | {' | '.join(TITLES)} |"]
    lines += [f"|---|{'---:|' * len(TITLES)}", *(_line(row, base) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any], base_ms: float | None) -> str:
    if "latency_ms" not in row:
        return f"| {row['variant']} | {row['not_run']} |{' |' * (len(TITLES) - 1)}"
    cells = (
        row["variant"],
        f"{row['latency_ms']:.1f}",
        f"{row['fastest_ms']:.1f} - {row['slowest_ms']:.1f}",
        f"{row['views_per_second']:.1f}",
        f"{row['working_memory_mb']:.0f}",
        f"{row['weights_mb']:.0f}",
        f"{row['gflop']:.1f}",
        f"{base_ms / row['latency_ms']:.2f}" if base_ms else "",
        " / ".join(f"{row['parts_ms'][part]:.0f}" for part in PARTS) if "parts_ms" in row else "",
    )
    return f"| {' | '.join(cells)} |"
