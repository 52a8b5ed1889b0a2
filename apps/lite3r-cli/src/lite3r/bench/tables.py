"""Results of `lite3r bench speed` as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lite3r.bench.costs import PARTS
from recon_eval.report import table

BASELINE = "dense bfloat16"

Row = Mapping[str, Any]
COLUMNS: dict[str, Callable[[Row, float | None], str]] = {
    "variant": lambda row, _: row["variant"],
    "median ms": lambda row, _: f"{row['latency_ms']:.1f}",
    "fastest - slowest": lambda row, _: f"{row['fastest_ms']:.1f} - {row['slowest_ms']:.1f}",
    "views/s": lambda row, _: f"{row['views_per_second']:.1f}",
    "working MB": lambda row, _: f"{row['working_memory_mb']:.0f}",
    "weights MB": lambda row, _: f"{row['weights_mb']:.0f}",
    "GFLOP": lambda row, _: f"{row['gflop']:.1f}",
    "speed-up": lambda row, base: f"{base / row['latency_ms']:.2f}" if base else "",
    "attention / blocks / rest ms": lambda row, _: (
        " / ".join(f"{row['parts_ms'][part]:.0f}" for part in PARTS) if "parts_ms" in row else ""
    ),
}


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Tables, one a setting; speed-up is over dense bfloat16."""
    return "\n".join(_table(result) for result in results)


def _table(result: Mapping[str, Any]) -> str:
    rows = result["rows"]
    base = next((r.get("latency_ms") for r in rows if r["variant"] == BASELINE), None)
    heading = (
        f"{result['backbone']} ({result['weights']} weights), {result['views']} views of "
        f"{result['width']} x {result['height']}"
    )
    return f"### {heading}\n\n{table(list(COLUMNS), [_cells(r, base) for r in rows])}\n"


def _cells(row: Row, base_ms: float | None) -> list[str]:
    if "latency_ms" not in row:
        return [row["variant"], row["not_run"], *[""] * (len(COLUMNS) - 2)]
    return [cell(row, base_ms) for cell in COLUMNS.values()]
