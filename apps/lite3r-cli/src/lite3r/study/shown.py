"""Results of `lite3r bench quality` as Markdown and as panels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recon_eval.report import Interval, Panel, Point

TITLES = (
    *("AbsRel", "of dense's", "AUC@30", "points from dense", "depth change", "pose agreement"),
    *("keys exact", "keys seen", "ms"),
)


def markdown(document: Mapping[str, Any]) -> str:
    """A table for each group of scenes, and what was found in words."""
    rows: Sequence[Mapping[str, Any]] = document["summary"]
    lines: list[str] = []
    for group in dict.fromkeys(row["group"] for row in rows):
        lines += [f"### {group}", "", f"| row | scenes | {' | '.join(TITLES)} |"]
        lines += [f"|---|{'---:|' * (len(TITLES) + 1)}"]
        lines += [_line(row) for row in rows if row["group"] == group] + [""]
    return "\n".join([*lines, *document["verdict"]]) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    cells = (
        row["row"],
        str(row["scenes"]),
        _number(row["abs_rel"], ".4f"),
        _interval(row["abs_rel_of_dense"], 3, "x"),
        _number(row["auc30"], ".3f"),
        _interval(row["auc30_points"], 2),
        _number(row["depth_change"], ".2%"),
        _number(row["pose_agreement"], ".3f"),
        _number(row["exact"], ".1%"),
        _number(row["seen"], ".1%"),
        _number(row["latency_ms"], ".0f"),
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _interval(value: Mapping[str, float] | None, digits: int, unit: str = "") -> str:
    return "" if value is None else Interval(**value).text(digits, unit)


def panels(document: Mapping[str, Any], group: str) -> list[Panel]:
    """Quality over keys and over latency, error by layer, attention mass kept."""
    rows = [r for r in document["summary"] if r["group"] == group]
    whole = [r for r in rows if not r["row"].endswith(" alone")]
    over = [
        Panel(title=f"{what}, {x}", x=x, y=y, points=list(_points(whole, across, up)))
        for across, x in (("seen", "share of keys seen"), ("latency_ms", "ms a scene"))
        for up, what, y in (
            ("abs_rel_of_dense", "Depth", "AbsRel of dense's"),
            ("auc30_points", "Poses", "AUC@30, points from dense"),
        )
    ]
    return [*over, _by_layer(rows), _masses(document["measured"])]


def _points(rows: Sequence[Mapping[str, Any]], across: str, up: str) -> Iterator[Point]:
    for row in rows:
        if row[across] is not None and row[up] is not None:
            yield Point(row["row"], row[across], *row[up].values())


def _by_layer(rows: Sequence[Mapping[str, Any]]) -> Panel:
    split = [
        r["row"].removesuffix(" alone").rpartition(", layer ") for r in rows if "alone" in r["row"]
    ]
    values = [r["depth_change"] for r in rows if "alone" in r["row"]]
    sites = list(dict.fromkeys(site for _, _, site in split))
    points = [
        Point(name, sites.index(site), value)
        for (name, _, site), value in zip(split, values, strict=True)
    ]
    return Panel(
        title="Error by layer, each alone sparse",
        x="layer",
        y="change of depth",
        points=points,
        ticks=sites,
    )


def _masses(measured: Mapping[str, Mapping[str, Any]]) -> Panel:
    found = {k.partition("|")[2]: v for k, v in measured.items() if k.startswith("mass|")}
    sites = list(dict.fromkeys(site for one in found.values() for site in one))[:12]
    points = [
        Point(name, sites.index(site), figures["kept"] / figures["best"])
        for name, one in found.items()
        for site, figures in one.items()
        if site in sites and figures["best"]
    ]
    return Panel(
        title="Attention mass kept, of the best possible",
        x="layer",
        y="share",
        points=points,
        ticks=sites,
    )
