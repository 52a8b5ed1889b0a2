"""report.html: one page that carries everything it shows, and asks the network for nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

import numpy as np
from jaxtyping import Float, UInt8

from recon_eval.pages import pictures as colors
from recon_eval.pages.columns import Column, Row, html_table
from recon_eval.pages.curve import loss_curve
from recon_eval.pages.html import document, facts, heading, legend, strip

WORST = 0.1  # a relative difference that is painted darkest


@dataclass(frozen=True, kw_only=True)
class SceneFigure:
    """What the page shows of one scene.

    - `images`: its photos.
    - `depth`: depth by label, all in one unit; the first sets the range of colors.
    - `differences`: pairs of labels, of which the relative difference is shown.
    """

    name: str
    images: UInt8[np.ndarray, "v y x 3"]
    depth: Mapping[str, Float[np.ndarray, "v y x"]]
    differences: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of a report page.

    - `summary`: one sentence, which comes first; `about`: what a reader must know beside it.
    - `facts`: labels and texts; `rows`: the table's models, `columns` its figures.
    - `loss`: by step, None where it was no number; empty for none.
    """

    title: str
    summary: str
    about: str
    facts: Sequence[tuple[str, str]]
    columns: Sequence[Column]
    rows: Sequence[Row]
    loss: Sequence[float | None]
    scenes: Sequence[SceneFigure]
    notes: Sequence[str] = ()


def render_page(page: Page) -> str:
    """The page as HTML."""
    return document(
        page.title,
        [
            heading(page.title, page.summary, page.about),
            _table(page.columns, page.rows),
            _curve(page.loss),
            *(_scene(scene) for scene in page.scenes),
            facts("How this was made", page.facts, page.notes),
        ],
    )


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    return (
        "<section><h2>Teacher and student</h2><div class='wide'>"
        f"{html_table(columns, rows)}</div>"
        "<p class='note'>The best figure of a line is bold where one way is better.</p></section>"
    )


def _curve(loss: Sequence[float | None]) -> str:
    values = [value for value in loss if value is not None and isfinite(value) and value > 0]
    if len(values) < max(2, len(loss)):
        return ""  # a student that equals its teacher has a loss of 0, and a page still
    drawing = loss_curve(values, label="distillation loss")
    return f"<section><h2>Distillation loss</h2><figure class='card'>{drawing}</figure></section>"


def _scene(scene: SceneFigure) -> str:
    near, far = colors.depth_range(next(iter(scene.depth.values())))
    strips = [strip("photo", [colors.data_uri(image, kind="jpeg") for image in scene.images])]
    strips += [_depth_strip(label, depth, near, far) for label, depth in scene.depth.items()]
    strips += [_difference_strip(scene, *pair) for pair in scene.differences]
    depth = (colors.DEPTH_STOPS, f"depth {near:.2f}", f"{far:.2f} (logarithmic)")
    error = (colors.ERROR_STOPS, "relative difference 0", f"{WORST:.0%} and more")
    bars = [depth, error] if scene.differences else [depth]
    return (
        f"<section><h2>{escape(scene.name)}</h2><div class='strips'>{''.join(strips)}</div>"
        f"{legend(*bars)}</section>"
    )


def _depth_strip(label: str, depth: Float[np.ndarray, "v y x"], near: float, far: float) -> str:
    pictures = [colors.data_uri(colors.depth_picture(d, near, far)) for d in depth]
    return strip(label, pictures)


def _difference_strip(scene: SceneFigure, label: str, other: str) -> str:
    pictures = [
        colors.data_uri(colors.error_picture(depth, base, worst=WORST))
        for depth, base in zip(scene.depth[label], scene.depth[other], strict=True)
    ]
    return strip(f"difference: {label} from {other}", pictures)
