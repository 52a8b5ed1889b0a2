"""Candidates by what they cost and by how far they are from dense, as tables and panels.

A row is a mapping: `key`; `layer`, or `blocks`, `cells`, `opened`; `cost`, of dense's;
`depth_change`, `pose_agreement`, and on scenes held out `held_depth`, `held_pose`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recon_eval.report import Panel, Point, mean_of, table

Rows = Sequence[Mapping[str, Any]]
CHANGES = ("operations of dense's", "depth change", "pose agreement")


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """How far answers may be from the dense network's.

    - `allow`: median relative change of depth; `allow_pose`: what AUC@30 of cameras may miss of 1.

    Raises ValueError for what is not above 0 and at most 1.
    """

    allow: float
    allow_pose: float

    def __post_init__(self) -> None:
        for name in ("allow", "allow_pose"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value}; it must be above 0 and at most 1: 0.01 is usual")

    def holds(self, figures: Iterable[Mapping[str, Any]]) -> bool:
        """Whether the means over sets stay within."""
        depth, agreement = means_of(figures)
        return depth <= self.allow and 1 - agreement <= self.allow_pose


def means_of(figures: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean change of depth, and mean agreement of cameras, over sets."""
    given = list(figures)
    return mean_of(given, "depth_change"), mean_of(given, "pose_agreement")


def tried_panels(rows: Rows) -> list[Panel]:
    """Change of depth, and agreement of cameras, over what a scene costs beside dense."""
    return [
        Panel(
            title=f"{key.replace('_', ' ').capitalize()} against dense",
            x="operations, of dense's",
            y=key.replace("_", " "),
            points=[Point(row["blocks"], row["cost"], row[key]) for row in rows],
        )
        for key in ("depth_change", "pose_agreement")
    ]


def tried_tables(rows: Rows, layers: Rows, chosen: str | None) -> str:
    """Candidates by cost, and layers by how much they hurt; `chosen` is the key of one."""
    first = [
        (
            row["blocks"],
            row["cells"],
            row["opened"],
            *_cells(row),
            "chosen" if row["key"] == chosen else "",
        )
        for row in sorted(rows, key=lambda row: row["cost"])
    ]
    titles = ("exact blocks", "cells", "opened", *CHANGES, "held out", "")
    second = [(row["layer"], *_cells(row)[:-1]) for row in layers]
    return f"{table(titles, first)}\n\n{table(('layer, alone sparse', *CHANGES), second)}\n"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    held = f"{row['held_depth']:.2%}, {row['held_pose']:.3f}" if "held_depth" in row else ""
    numbers = (f"{row['cost']:.1%}", f"{row['depth_change']:.2%}", f"{row['pose_agreement']:.3f}")
    return *numbers, held
