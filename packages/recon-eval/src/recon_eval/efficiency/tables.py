"""Costs of variants in several settings, as Markdown and as panels.

A setting says `views`, `width` and `height`, and holds `rows`: each a `variant` with what
`cost_row` gives, or with the reason why it was `not_run`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from recon_eval.efficiency.measurement import EfficiencyResult
from recon_eval.report import Panel, Point, table

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
}
FIGURES = (("latency_ms", "latency, ms"), ("working_memory_mb", "working memory, MB"))


def cost_row(cost: EfficiencyResult, *, weight_bytes: int, views: int) -> dict[str, Any]:
    """Figures of one variant, every repetition among them.

    - `weight_bytes`: of all weights as they lie in memory; `views`: of one call.
    """
    return {
        "latency_ms": cost.latency_ms,
        "latencies_ms": list(cost.latencies_ms),
        "fastest_ms": min(cost.latencies_ms),
        "slowest_ms": max(cost.latencies_ms),
        "views_per_second": 1000 * views / cost.latency_ms,
        "working_memory_mb": cost.peak_memory_bytes / 1e6,
        "weights_mb": weight_bytes / 1e6,
        "gflop": (cost.flops or 0) / 1e9,
    }


def cost_table(setting: Mapping[str, Any], *, baseline: str, parts: Sequence[str]) -> str:
    """A row a variant; speed-up is over the baseline.

    - `parts`: of which `parts_ms` of a row, where it has them, gives milliseconds.
    """
    rows = setting["rows"]
    base = next((r.get("latency_ms") for r in rows if r["variant"] == baseline), None)
    return table((*COLUMNS, f"{' / '.join(parts)} ms"), [_cells(r, base, parts) for r in rows])


def _cells(row: Row, base_ms: float | None, parts: Sequence[str]) -> list[str]:
    if "latency_ms" not in row:
        return [row["variant"], row["not_run"], *[""] * (len(COLUMNS) - 1)]
    spent = [f"{row['parts_ms'][part]:.0f}" for part in parts] if "parts_ms" in row else []
    return [*(cell(row, base_ms) for cell in COLUMNS.values()), " / ".join(spent)]


def cost_panels(settings: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Latency and working memory over views, by size.

    Heights are logarithmic, lines are variants, and a bar spans the fastest to the slowest
    repetition.
    """
    sizes = dict.fromkeys((one["width"], one["height"]) for one in settings)
    views = sorted({one["views"] for one in settings})
    return [
        Panel(
            title=f"{title}, {size[0]} x {size[1]} pixels",
            x="views",
            y=title,
            points=list(_points(settings, size, views, figure)),
            ticks=[str(count) for count in views],
            log=True,
            joined=True,
        )
        for size in sizes
        for figure, title in FIGURES
    ]


def _points(
    settings: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    views: Sequence[int],
    figure: str,
) -> Iterator[Point]:
    for setting in sorted(settings, key=lambda one: one["views"]):
        if (setting["width"], setting["height"]) != size:
            continue
        for row in setting["rows"]:
            if figure in row:
                ends = (row["fastest_ms"], row["slowest_ms"]) if figure == "latency_ms" else ()
                yield Point(row["variant"], views.index(setting["views"]), row[figure], *ends)
