"""Rows on the same scenes: measured in turn, kept as they are made, summed up."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from recon_eval.report import Interval, Kept, difference, mean, ratio, told_of
from recon_eval.sets.scene import Scene

DENSE, MASS = "dense", "mass"
LAYER, ALONE = ", layer ", " alone"
SAME = {"depth_change": 0.0, "pose_agreement": 1.0}  # as dense is to itself
KEYS = ("depth_change", "pose_agreement", "exact", "seen", "latency_ms")
Network = TypeVar("Network")


def named(group: str, row: str) -> str:
    """Under which name figures of a row are kept."""
    return f"{group}|{row}"


def parted(name: str) -> tuple[str, str]:
    """Group and row of a name."""
    group, _, row = name.partition("|")
    return group, row


def alone_row(row: str, layer: str) -> str:
    """The name of a row in one layer alone."""
    return f"{row}{LAYER}{layer}{ALONE}"


def measure_rows(
    group: str,
    scene: str,
    draw: Callable[[], Scene],
    networks: Mapping[str, Callable[[], Network]],
    judge: Callable[[Network, Scene, Any], tuple[Mapping[str, Any], Any]],
    kept: Kept,
) -> None:
    """Measure all rows that a scene lacks, in turn, the dense one first, and keep them.

    - `draw`: makes the scene, if it is needed.
    - `networks`: makes each row's network when it is needed.
    - `judge`: gives the figures of a network on a scene and its answer, beside dense's answer,
      which is None for dense itself. A ValueError of it says, as a note, of which row.
    """
    missing = [row for row in networks if kept.find(named(group, row), scene) is None]
    if not missing:
        return
    drawn, place = draw(), f"{group}, scene {scene}"
    with told_of(f"row {DENSE}, {place}"):
        known, dense = judge(networks[DENSE](), drawn, None)
    if DENSE in missing:
        kept.add(named(group, DENSE), scene, {**known, **SAME})
    for row in missing:
        if row != DENSE:
            with told_of(f"row {row}, {place}"):
                kept.add(named(group, row), scene, judge(networks[row](), drawn, dense)[0])
    kept.save()


def summarize(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for each group of scenes and row: means, and how far from dense."""
    found = []
    for name, figures in measured.items():
        group, row = parted(name)
        if group == MASS or not figures:
            continue
        base = measured.get(named(group, DENSE), {})
        entry: dict[str, Any] = {"group": group, "row": row, "scenes": len(figures)}
        entry |= {key: mean(figures, key) for key in ("abs_rel", "auc30", *KEYS)}
        entry["abs_rel_of_dense"] = _dict(ratio(figures, base, "abs_rel"))
        entry["auc30_points"] = _dict(difference(figures, base, "auc30", 100))
        found.append(entry)
    return found


def _dict(interval: Interval | None) -> dict[str, float | None] | None:
    return None if interval is None else interval.to_dict()
