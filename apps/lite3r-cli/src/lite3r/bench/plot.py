"""Results of `lite3r bench speed` as one SVG that reads on light and dark ground.

One panel a figure and size: latency, working memory; both axes are logarithmic, lines are
variants, and a bar spans the fastest to the slowest repetition.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, floor, log2, log10
from pathlib import Path
from typing import Any

from lite3r.bench.tables import heading

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, BOTTOM, KEY = 420, 300, 58, 34, 44, 22
COLORS = {
    "dense float32": "#8a97a6",
    "dense bfloat16": "#4c6a92",
    "dense bfloat16, compiled": "#2f9bd0",
    "SLA bfloat16": "#e07a3f",
    "SLA bfloat16, compiled": "#c2410c",
    "FP8": "#7ca82b",
    "SLA + FP8": "#b03a8c",
    "SLA + FP8, compiled": "#7a1f63",
    "upstream DA3, autocast": "#c9a227",
}
FIGURES = (("latency_ms", "latency, ms"), ("working_memory_mb", "working memory, MB"))
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #4b5866; }
.title { font-weight: 600; fill: #1d2733; }
.grid { stroke: #d5dce3; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #a9b6c3; } .title { fill: #e8edf2; } .grid { stroke: #36414d; }
}
"""

Row = Mapping[str, Any]


def read_results(path: Path) -> Sequence[Mapping[str, Any]]:
    """Read what `lite3r bench speed --out` wrote. Raises ValueError for another file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["what"] != "lite3r bench speed":
            raise KeyError("what")
        results: Sequence[Mapping[str, Any]] = document["results"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no results of lite3r bench speed") from error
    return results


def draw(results: Sequence[Mapping[str, Any]]) -> str:
    """The plot. Raises ValueError when nothing was timed."""
    names = [n for n in COLORS if any(n == r["variant"] for r in _timed(results))]
    if not names:
        raise ValueError("nothing in these results was timed, so there is nothing to draw")
    sizes = list(dict.fromkeys((r["width"], r["height"]) for r in results))
    width = PANEL_WIDTH * len(FIGURES)
    key_rows = ceil(len(names) / 4)
    height = PANEL_HEIGHT * len(sizes) + KEY * key_rows + 12
    parts = [
        _panel(
            [r for r in results if (r["width"], r["height"]) == size],
            figure,
            f"{title}, {size[0]} x {size[1]} pixels",
            PANEL_WIDTH * column,
            PANEL_HEIGHT * row,
        )
        for row, size in enumerate(sizes)
        for column, (figure, title) in enumerate(FIGURES)
    ]
    label = escape("; ".join(heading(result) for result in results))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" role="img" aria-label="{label}"><style>{STYLE}</style>'
        f"{''.join(parts)}{_key(names, PANEL_HEIGHT * len(sizes))}</svg>\n"
    )


def _timed(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [row for result in results for row in result["rows"] if "latency_ms" in row]


def _panel(
    results: Sequence[Mapping[str, Any]], figure: str, title: str, left: int, top: int
) -> str:
    values = [row[figure] for row in _timed(results)]
    if not values:
        return ""
    views = sorted({result["views"] for result in results})
    ticks = _ticks(min(values), max(values))
    low, high = log10(ticks[0]), log10(ticks[-1])
    first, last = log2(views[0]) - 0.3, log2(views[-1]) + 0.3

    def x(count: int) -> float:
        return left + LEFT + (log2(count) - first) / (last - first) * (PANEL_WIDTH - LEFT - 16)

    def y(value: float) -> float:
        share = (high - log10(value)) / (high - low)
        return top + TOP + share * (PANEL_HEIGHT - TOP - BOTTOM)

    text = f'<text x="{left + LEFT}" y="{top + 20}" class="title">{escape(title)}</text>'
    for value in ticks:
        text += (
            f'<line class="grid" x1="{left + LEFT}" x2="{left + PANEL_WIDTH - 16}" '
            f'y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text x="{left + LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">'
            f"{_short(value)}</text>"
        )
    text += "".join(
        f'<text x="{x(count):.1f}" y="{top + PANEL_HEIGHT - BOTTOM + 18}" text-anchor="middle">'
        f"{count}</text>"
        for count in views
    )
    middle = left + LEFT + (PANEL_WIDTH - LEFT - 16) / 2
    text += f'<text x="{middle}" y="{top + PANEL_HEIGHT - 8}" text-anchor="middle">views</text>'
    return text + "".join(_line(results, name, figure, x, y) for name in COLORS)


def _line(
    results: Sequence[Mapping[str, Any]],
    name: str,
    figure: str,
    x: Callable[[int], float],
    y: Callable[[float], float],
) -> str:
    rows = [
        (result["views"], row)
        for result in sorted(results, key=lambda result: result["views"])
        for row in result["rows"]
        if row["variant"] == name and figure in row
    ]
    if not rows:
        return ""
    color = COLORS[name]
    points = " ".join(f"{x(views):.1f},{y(row[figure]):.1f}" for views, row in rows)
    marks = "".join(
        f'<circle cx="{x(views):.1f}" cy="{y(row[figure]):.1f}" r="3.5" fill="{color}">'
        f"<title>{escape(name)}, {views} views: {row[figure]:.1f}</title></circle>"
        for views, row in rows
    )
    spans = "".join(
        f'<line x1="{x(views):.1f}" x2="{x(views):.1f}" y1="{y(row["fastest_ms"]):.1f}" '
        f'y2="{y(row["slowest_ms"]):.1f}" stroke="{color}" stroke-width="1.5"/>'
        for views, row in rows
        if figure == "latency_ms"
    )
    return (
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>{spans}{marks}'
    )


def _key(names: Sequence[str], top: int) -> str:
    return "".join(
        f'<rect x="{16 + 205 * (i % 4)}" y="{top + KEY * (i // 4)}" width="12" height="12" rx="3" '
        f'fill="{COLORS[name]}"/><text x="{34 + 205 * (i % 4)}" y="{top + KEY * (i // 4) + 10.5}">'
        f"{escape(name)}</text>"
        for i, name in enumerate(names)
    )


def _ticks(least: float, most: float) -> list[float]:
    """1, 3, 10, 30, ... from the last that is not above `least` to the first not below `most`."""
    exponents = range(floor(log10(least)) - 1, ceil(log10(most)) + 2)
    steps = [digit * 10.0**exponent for exponent in exponents for digit in (1, 3)]
    first = max(i for i, step in enumerate(steps) if step <= least)
    last = min(i for i, step in enumerate(steps) if step >= most and i > first)
    return steps[first : last + 1]


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
