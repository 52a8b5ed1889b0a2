"""A curve as inline SVG: no script, no font, no file besides."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 40


def loss_curve(values: Sequence[float], *, label: str, smooth: int = 9) -> str:
    """Draw positive values against their number (from 1), on a logarithmic axis.

    The thin line is the values, the bold one their running median over `smooth` steps.
    Raises ValueError when fewer than two values are given, or one is not positive.
    """
    if len(values) < 2 or not all(isfinite(v) and v > 0 for v in values):
        raise ValueError(
            "losses of fewer than two values, or not finite and positive; a curve needs such: "
            "leave it out"
        )
    low, high = floor(log10(min(values)) * 4) / 4, ceil(log10(max(values)) * 4) / 4
    high = max(high, low + 0.25)

    def x(step: int) -> float:
        return LEFT + (step - 1) / (len(values) - 1) * (WIDTH - LEFT - RIGHT)

    def y(exponent: float) -> float:
        return TOP + (high - exponent) / (high - low) * (HEIGHT - TOP - BOTTOM)

    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(e):.1f}" y2="{y(e):.1f}" class="grid"/>'
        f'<text x="{LEFT - 8}" y="{y(e) + 4:.1f}" text-anchor="end">{10**e:.2g}</text>'
        for e in _ticks(low, high)
    )
    steps = "".join(
        f'<text x="{x(s):.1f}" y="{HEIGHT - 18}" text-anchor="{anchor}">{s}</text>'
        for s, anchor in _steps(len(values))
    )
    lines = "".join(
        f'<polyline class="{kind}" points="'
        + " ".join(f"{x(i):.1f},{y(log10(v)):.1f}" for i, v in enumerate(series, start=1))
        + '"/>'
        for kind, series in (("raw", values), ("smooth", _running_median(values, smooth)))
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{grid}{steps}{lines}"
        f'<text x="{middle:.0f}" y="{HEIGHT - 2}" text-anchor="middle">step</text></svg>'
    )


def _steps(count: int) -> list[tuple[int, str]]:
    """The steps that are written below the axis: first, middle and last."""
    middle = [((count + 1) // 2, "middle")] if count > 4 else []
    return [(1, "start"), *middle, (count, "end")]


def _ticks(low: float, high: float) -> list[float]:
    """At most six exponents between `low` and `high`, evenly spaced."""
    step = next(s for s in (0.25, 0.5, 1, 2, 4, 8, 16, 400) if (high - low) / s <= 5)
    first = ceil(low / step)
    return [float(n * step) for n in range(first, floor(high / step) + 1)]


def _running_median(values: Sequence[float], width: int) -> Sequence[float]:
    if len(values) <= width:
        return values
    half = width // 2
    windows = (sorted(values[max(0, i - half) : i + half + 1]) for i in range(len(values)))
    return [window[len(window) // 2] for window in windows]
