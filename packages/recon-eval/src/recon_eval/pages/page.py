"""report.html: one page that carries everything it shows, and asks the network for nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, UInt8

from recon_eval.pages import pictures as colors
from recon_eval.pages.columns import Column, Row, html_table
from recon_eval.pages.curve import loss_curve
from recon_eval.pages.html import document, facts, heading, legend, strip

WORST_ERROR = 0.5


@dataclass(frozen=True, kw_only=True)
class SceneFigure:
    """What the page shows of one scene: photos, and one depth per model in the unit of `truth`.

    truth_label: what `truth` is, where it is not the true depth.
    """

    name: str
    images: UInt8[np.ndarray, "v y x 3"]
    truth: Float[np.ndarray, "v y x"] | None
    depth: Mapping[str, Float[np.ndarray, "v y x"]]
    truth_label: str = "true depth"


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of a report page. `facts` are label and text; `rows` are the table's models,
    `columns` its figures."""

    title: str
    summary: str
    facts: Sequence[tuple[str, str]]
    columns: Sequence[Column]
    rows: Sequence[Row]
    loss: Sequence[float]
    scenes: Sequence[SceneFigure]
    notes: Sequence[str] = ()


def render_page(page: Page) -> str:
    """The page as HTML."""
    return document(
        page.title,
        [
            heading(page.title, page.summary),
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


def _curve(loss: Sequence[float]) -> str:
    if len(loss) < 2:
        return ""
    drawing = loss_curve(loss, label="distillation loss")
    return f"<section><h2>Distillation loss</h2><figure class='card'>{drawing}</figure></section>"


def _scene(scene: SceneFigure) -> str:
    known = [scene.truth] if scene.truth is not None else list(scene.depth.values())
    near, far = colors.depth_range(*known)
    strips = [strip("photo", [colors.data_uri(image, kind="jpeg") for image in scene.images])]
    if scene.truth is not None:
        strips.append(_depth_strip(scene.truth_label, scene.truth, near, far))
    for label, depth in scene.depth.items():
        strips.append(_depth_strip(label, depth, near, far))
    if scene.truth is not None:
        for label, depth in scene.depth.items():
            pictures = [
                colors.error_picture(d, t, worst=WORST_ERROR)
                for d, t in zip(depth, scene.truth, strict=True)
            ]
            strips.append(strip(f"error, {label}", [colors.data_uri(p) for p in pictures]))
    return (
        f"<section><h2>{escape(scene.name)}</h2><div class='strips'>{''.join(strips)}</div>"
        f"{legend(*_scales(near, far, with_error=scene.truth is not None))}</section>"
    )


def _depth_strip(label: str, depth: Float[np.ndarray, "v y x"], near: float, far: float) -> str:
    pictures = [colors.data_uri(colors.depth_picture(d, near, far)) for d in depth]
    return strip(label, pictures)


def _scales(near: float, far: float, *, with_error: bool) -> list[tuple[tuple[str, ...], str, str]]:
    depth = (colors.DEPTH_STOPS, f"depth {near:.2f}", f"{far:.2f} (logarithmic)")
    error = (colors.ERROR_STOPS, "relative error 0", f"{WORST_ERROR:.0%} and more")
    return [depth, error] if with_error else [depth]
