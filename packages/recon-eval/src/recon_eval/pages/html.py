"""Pieces that every report page is made of: the document, strips of pictures, lists of facts."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from recon_eval.pages import pictures


def document(title: str, sections: Sequence[str]) -> str:
    """A whole HTML document that asks the network for nothing."""
    style = files("recon_eval.pages").joinpath("style.css").read_text(encoding="utf-8")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def heading(title: str, summary: str, about: str = "") -> str:
    """The top of a page: its title, one sentence, and what to know beside it."""
    more = f"<p class='note'>{escape(about)}</p>" if about else ""
    lead = f"<p class='lead'>{escape(summary)}</p>"
    return f"<header><h1>{escape(title)}</h1>{lead}{more}</header>"


def strip(label: str, sources: Sequence[str], names: Sequence[str] = ()) -> str:
    """Pictures in a row under a label; `sources` are data URIs, `names` their alternative texts."""
    names = names or [f"{label}, view {number}" for number in range(1, len(sources) + 1)]
    images = "".join(
        f"<img src='{source}' alt='{escape(name)}' title='{escape(name)}' loading='lazy'>"
        for source, name in zip(sources, names, strict=True)
    )
    return f"<figure><figcaption>{escape(label)}</figcaption><div>{images}</div></figure>"


def legend(*bars: tuple[tuple[str, ...], str, str]) -> str:
    """Color scales: stops, the text before and the text after each."""
    spans = "".join(
        f"<span>{escape(low)}<i style='background:{pictures.css_gradient(stops)}'></i>"
        f"{escape(high)}</span>"
        for stops, low, high in bars
    )
    return f"<p class='legend'>{spans}</p>"


def facts(title: str, pairs: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> str:
    """Labels and texts, and remarks below them."""
    items = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in pairs)
    remarks = "".join(f"<p class='note'>{escape(note)}</p>" for note in notes)
    return f"<section><h2>{escape(title)}</h2><dl class='card'>{items}</dl>{remarks}</section>"
