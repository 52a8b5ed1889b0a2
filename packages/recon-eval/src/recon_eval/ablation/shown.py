"""An ablation as Markdown and as panels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recon_eval.ablation.rows import ALONE, LAYER, MASS, parted
from recon_eval.report import Interval, Panel, Point, table

TITLES = (
    *("row", "scenes", "AbsRel", "of dense's", "AUC@30", "points from dense", "depth change"),
    *("pose agreement", "keys exact", "keys seen", "ms"),
)
NUMBERS = {
    **{"abs_rel": ".4f", "auc30": ".3f", "depth_change": ".2%", "pose_agreement": ".3f"},
    **{"exact": ".1%", "seen": ".1%", "latency_ms": ".0f"},
}


def markdown(document: Mapping[str, Any]) -> str:
    """A table for each group of scenes, and what was found in words."""
    rows: Sequence[Mapping[str, Any]] = document["summary"]
    tables = [
        f"### {group}\n\n{table(TITLES, [_cells(row) for row in rows if row['group'] == group])}\n"
        for group in dict.fromkeys(row["group"] for row in rows)
    ]
    return "\n".join([*tables, *document["verdict"]]) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    depth, poses = row["abs_rel_of_dense"], row["auc30_points"]
    numbers = [(row[key], form) for key, form in NUMBERS.items()]
    found = ["" if value is None else format(value, form) for value, form in numbers]
    found.insert(1, Interval(**depth).text(3, "x") if depth else "")
    found.insert(3, Interval(**poses).text(2) if poses else "")
    return [row["row"], str(row["scenes"]), *found]


def panels(document: Mapping[str, Any], group: str) -> list[Panel]:
    """Quality over keys and over latency, error by layer, attention mass kept."""
    rows = [r for r in document["summary"] if r["group"] == group]
    whole = [r for r in rows if not r["row"].endswith(ALONE)]
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
    alone = [r for r in rows if r["row"].endswith(ALONE)]
    parts = [r["row"].removesuffix(ALONE).rpartition(LAYER) for r in alone]
    changes = [r["depth_change"] for r in alone]
    found = [(name, site, y) for (name, _, site), y in zip(parts, changes, strict=True)]
    return _over_layers("Error by layer, each alone sparse", "change of depth", found)


def _masses(measured: Mapping[str, Mapping[str, Any]]) -> Panel:
    found = [
        (parted(key)[1], site, figures["kept"] / figures["best"])
        for key, sites in measured.items()
        if parted(key)[0] == MASS
        for site, figures in sites.items()
        if figures["best"]
    ]
    shown = list(dict.fromkeys(site for _, site, _ in found))[:12]
    kept = [one for one in found if one[1] in shown]
    return _over_layers("Attention mass kept, of the best possible", "share", kept)


def _over_layers(title: str, y: str, found: Sequence[tuple[str, str, float]]) -> Panel:
    sites = list(dict.fromkeys(site for _, site, _ in found))
    points = [Point(name, sites.index(site), value) for name, site, value in found]
    return Panel(title=title, x="layer", y=y, points=points, ticks=sites)
