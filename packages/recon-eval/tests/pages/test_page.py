"""The report page is whole in itself, and says what the numbers say."""

import html.parser
from dataclasses import replace

import numpy as np
import pytest

from recon_eval.pages import Column, Page, SceneFigure, markdown_table, measured, render_page
from recon_eval.pages.columns import html_table

COLUMNS = (
    Column.of("abs_rel", more=", on a whim"),
    Column.of("auc30"),
    Column(key="latency_ms", title="latency", unit="ms", digits=0, explanation="time"),
    Column(
        key="density", title="kept", unit="%", digits=1, scale=100, better=None, explanation="share"
    ),
)
ROWS = [
    {"label": "teacher", "abs_rel": 0.2, "auc30": 0.5, "latency_ms": 1234.5, "density": 1.0},
    {"label": "student <b>", "abs_rel": 0.21, "auc30": 0.6, "density": 0.256},
]


def test_a_line_without_any_figure_is_left_out() -> None:
    unknown = Column(key="unknown", title="unknown", explanation="of no row")
    assert measured([*COLUMNS, unknown], ROWS) == list(COLUMNS)
    assert html_table([unknown], ROWS).count("scope='row'") == 0
    assert html_table(COLUMNS, ROWS).count("scope='row'") == len(COLUMNS)


class Parsed(html.parser.HTMLParser):
    """Open tags must close in order; addresses are collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "img", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page() -> Page:
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 3, (2, 8, 8))
    scene = SceneFigure(
        name="room & garden",
        images=rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8),
        depth={"true depth": truth, "teacher": truth * 1.1, "student": truth * 0.9},
        differences=[("student", "teacher"), ("student", "true depth")],
    )
    return Page(
        title="A <run>",
        summary="It ran.",
        about="On a whim.",
        facts=[("seed", "0")],
        columns=COLUMNS,
        rows=ROWS,
        loss=[0.1, 0.05, 0.02],
        scenes=[scene],
        notes=["a note"],
    )


def test_the_page_asks_for_nothing_outside_itself(page: Page) -> None:
    parsed = Parsed(render_page(page))
    assert len(parsed.addresses) == 2 * 6  # photo, three depths, two differences; two views each
    assert all(a.startswith("data:image/") for a in parsed.addresses)
    assert "url(" not in parsed.text
    assert "http" not in parsed.text


def test_the_page_shows_figures_and_escapes_names(page: Page) -> None:
    text = render_page(page)
    assert "student &lt;b&gt;" in text
    assert "A &lt;run&gt;" in text
    parsed = Parsed(text)
    assert (
        parsed.text.index("It ran.") < parsed.text.index("On a whim.") < parsed.text.index("AbsRel")
    )
    for shown in ("0.200", "0.210", "1,234", "25.6", "room & garden", "distillation loss".title()):
        assert shown.lower() in parsed.text.lower()


def test_only_the_better_figure_is_marked(page: Page) -> None:
    text = render_page(page)
    assert "<td class='best'>0.200</td><td>0.210</td>" in text
    assert "<td>0.500</td><td class='best'>0.600</td>" in text
    assert "<td>100.0</td><td>25.6</td>" in text


def test_markdown_has_one_line_per_model() -> None:
    lines = markdown_table(COLUMNS, ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 2}
    assert "| - |" in lines[3]


def test_a_metric_brings_its_words() -> None:
    found = Column.of("auc30")
    assert (found.title, found.better) == ("AUC@30", "high")
    assert Column.of("abs_rel", more=", on a whim").explanation.endswith("/ truth, on a whim")
    with pytest.raises(ValueError, match="key='speed'; it must be a metric"):
        Column.of("speed")


@pytest.mark.parametrize("loss", [[0.0, 0.0], [0.1, 0.0, 0.1], [0.1], [0.1, None]])
def test_a_loss_without_a_curve_leaves_the_page(page: Page, loss: list[float | None]) -> None:
    text = render_page(replace(page, loss=loss))
    assert "distillation loss" not in text.lower() and "room &amp; garden" in text
