"""Panels of points as one SVG that reads on light and dark ground."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, BOTTOM, KEY = 420, 300, 58, 34, 44, 22  # pixels
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#4b5866}.title{font-weight:600;fill:#1d2733}"
    ".grid{stroke:#d5dce3}@media(prefers-color-scheme:dark){text{fill:#a9b6c3}"
    ".title{fill:#e8edf2}.grid{stroke:#36414d}}"
)
COLORS = ("#4c6a92", "#e07a3f", "#7ca82b", "#b03a8c", "#2f9bd0", "#c9a227", "#8a97a6", "#c2410c")
SIGNS = ("circle", "square", "ring")  # colors come again with the next sign
STEPS = 4


@dataclass(frozen=True)
class Point:
    """One point of a panel: whose it is, where, and the interval of its height, if it has one."""

    name: str
    x: float | int
    y: float | int
    low: float | int | None = None
    high: float | int | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Points in a frame.

    - `ticks`: the words below whole numbers where x counts things.
    - `log`: whether heights are logarithmic; `joined`: whether lines join points of one name.
    """

    title: str
    x: str
    y: str
    points: Sequence[Point]
    ticks: Sequence[str] = ()
    log: bool = False
    joined: bool = False


def svg(panels: Sequence[Panel]) -> str:
    """Panels two a row, and one key for all of them. Raises ValueError where all are empty."""
    shown = [panel for panel in panels if panel.points]
    names = list(dict.fromkeys(point.name for panel in shown for point in panel.points))
    if not names:
        raise ValueError("panels hold no point; there is nothing to draw: measure something first")
    rows = -(-len(shown) // 2)
    height = PANEL_HEIGHT * rows + KEY * -(-len(names) // 3) + 12
    parts = [
        _panel(panel, names, PANEL_WIDTH * (i % 2), PANEL_HEIGHT * (i // 2))
        for i, panel in enumerate(shown)
    ]
    for i, name in enumerate(names):
        x, y = 20 + 270 * (i % 3), PANEL_HEIGHT * rows + 8 + KEY * (i // 3)
        parts.append(f"{_sign(i, x, y)}<text x='{x + 12}' y='{y + 4}'>{escape(name)}</text>")
    label = escape("; ".join(panel.title for panel in shown))
    width = 2 * PANEL_WIDTH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'role="img" aria-label="{label}"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Panel, names: Sequence[str], left: int, top: int) -> str:
    xs = _span([point.x for point in panel.points])
    heights = [v for p in panel.points for v in (p.y, p.low, p.high) if v is not None]
    ys = _span([log10(v) for v in heights] if panel.log else heights)
    wide, high = PANEL_WIDTH - LEFT - 16, PANEL_HEIGHT - TOP - BOTTOM

    def at(x: float | int, y: float | int) -> tuple[float, float]:
        height = log10(y) if panel.log else y
        across, up = (x - xs[0]) / (xs[1] - xs[0]), (height - ys[0]) / (ys[1] - ys[0])
        return round(left + LEFT + across * wide, 1), round(top + TOP + (1 - up) * high, 1)

    parts = [_text(left + LEFT, top + 16, panel.title, 'class="title"')]
    for step in range(STEPS + 1):
        x, y = (a + (b - a) * step / STEPS for a, b in (xs, ys))
        y = 10**y if panel.log else y
        across, row = at(x, y)
        ends = f'x1="{left + LEFT}" x2="{left + LEFT + wide}" y1="{row}" y2="{row}"'
        parts.append(f'<line class="grid" {ends}/>')
        parts.append(_text(left + LEFT - 6, row + 4, _short(y), 'text-anchor="end"'))
        if not panel.ticks:
            below = top + PANEL_HEIGHT - BOTTOM + 16
            parts.append(_text(across, below, _short(x), 'text-anchor="middle"'))
    low = min(heights)
    for number, word in enumerate(panel.ticks):
        below = top + PANEL_HEIGHT - BOTTOM + 16
        parts.append(_text(at(number, low)[0], below, word, 'text-anchor="middle"'))
    middle = left + LEFT + wide / 2
    title = f"{panel.y}, over {panel.x}"
    parts.append(_text(middle, top + PANEL_HEIGHT - 8, title, 'text-anchor="middle"'))
    for index, name in enumerate(names if panel.joined else ()):
        line = " ".join("{},{}".format(*at(p.x, p.y)) for p in panel.points if p.name == name)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_color(index)}"/>')
    for point in panel.points:
        index = names.index(point.name)
        x, y = at(point.x, point.y)
        if point.low is not None and point.high is not None:
            span = f'y1="{at(point.x, point.low)[1]}" y2="{at(point.x, point.high)[1]}"'
            parts.append(f'<line x1="{x}" x2="{x}" {span} stroke="{_color(index)}"/>')
        told = escape(f"{point.name}: {point.x:.4g}, {point.y:.4g}")
        parts.append(f"<g><title>{told}</title>{_sign(index, x, y)}</g>")
    return "".join(parts)


def _span(values: Sequence[float | int]) -> tuple[float, float]:
    """From the least to the greatest, and a little more on both sides."""
    room = 0.06 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room


def _short(value: float | int) -> str:
    """Few digits, no exponent between a thousandth and a million."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.{3 if abs(value) >= 1 else 2}g}"


def _text(x: float | int, y: float | int, words: str, more: str) -> str:
    return f'<text x="{x}" y="{y}" {more}>{escape(words)}</text>'


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _sign(index: int, x: float | int, y: float | int) -> str:
    kind, color = SIGNS[index // len(COLORS) % len(SIGNS)], _color(index)
    if kind == "square":
        return f'<rect x="{x - 4}" y="{y - 4}" width="8" height="8" fill="{color}"/>'
    fill = color if kind == "circle" else "none"
    return f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="{color}" stroke-width="2"/>'
