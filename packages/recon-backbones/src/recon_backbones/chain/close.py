"""Where a sequence comes back to a place, its windows are moved so that both visits meet there.

Keypoints tell which views show one place (`find`). One more pass of the network sees the views
round both, and joins their windows; the similarities of all windows are then settled as a graph.
What the pass says is believed only where it agrees with both windows, and where it puts what both
visits see in one place: a place that merely looks alike is not closed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from recon_backbones.chain.find import Revisit, find_revisits
from recon_backbones.chain.graph import Edge, disagreement, settle
from recon_backbones.chain.join import join, views_of
from recon_backbones.geometry.cameras import unproject
from recon_backbones.geometry.similarity import SimilarityMap, camera_centers
from recon_backbones.prediction import Prediction

TURNED = 15.0  # degrees by which the views of a window may be turned in the pass over both ends
SURER = 3.0  # than a window: a loop's pass errs over a few views, a window over all of its own
MISSED = 0.15  # of its depth: median distance of what both visits see, in that pass


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Windows, what was predicted of each, and the similarities that take them to the first."""

    parts: tuple[range, ...]
    seen: tuple[Prediction, ...]
    places: tuple[SimilarityMap, ...]

    def window_of(self, view: int) -> int:
        """The window in whose middle a view lies most."""
        inside = [k for k, part in enumerate(self.parts) if view in part]
        middles = [(part.start + part.stop - 1) / 2 for part in self.parts]
        return min(inside, key=lambda k: abs(middles[k] - view))

    def apart(self, one: int, other: int) -> bool:
        """Whether no window, nor a neighbor of it, holds both views."""
        first, second = sorted((self.window_of(one), self.window_of(other)))
        return second - first > 1 and self.parts[first].stop <= self.parts[second].start

    def edges(self) -> list[Edge]:
        """Of each window, where it lies from the one before."""
        return [
            Edge(first=k, second=k + 1, similarity=one.inverse @ other)
            for k, (one, other) in enumerate(pairwise(self.places))
        ]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Two views of one place, and how far apart their windows had it.

    - `turn`: in degrees. `growth`: as a factor of scale. `closed`: whether it was believed, else
      `why` not.
    """

    first_view: int
    second_view: int
    turn: float = 0.0
    growth: float = 1.0
    closed: bool = True
    why: str = ""

    def describe(self) -> str:
        """What was done, for people; views count from 1."""
        ends = f"views {self.first_view + 1} and {self.second_view + 1} show one place"
        if not self.closed:
            return f"{ends}, it seems, but {self.why}: nothing is moved"
        return (
            f"{ends}: windows are moved so that they meet there (they were apart by "
            f"{self.turn:.1f} degrees and a factor of {self.growth:.2f})"
        )


def close_loops(
    chain: Chain,
    images: Float[Tensor, "v 3 y x"],
    predict: Callable[[Sequence[int]], Prediction],
) -> tuple[list[SimilarityMap], tuple[Loop, ...]]:
    """Places of all windows that agree also where the sequence comes back; and what was found."""
    edges, loops = chain.edges(), []
    for revisit in find_revisits(images, chain.apart):
        edge, why = _edge(chain, revisit, predict)
        apart = None if edge is None else disagreement(chain.places, edge)
        loops.append(
            Loop(
                first_view=revisit.first,
                second_view=revisit.second,
                turn=0.0 if apart is None else float(torch.rad2deg(apart[3:6].norm())),
                growth=1.0 if apart is None else float(apart[6].abs().exp()),
                closed=edge is not None,
                why=why,
            )
        )
        if edge is not None:
            edges.append(edge)
    if len(edges) < len(chain.parts):
        return list(chain.places), tuple(loops)
    return settle(chain.places, edges), tuple(loops)


def _edge(
    chain: Chain, revisit: Revisit, predict: Callable[[Sequence[int]], Prediction]
) -> tuple[Edge | None, str]:
    """What one pass over both visits says of their windows, or why it is not believed."""
    ends = [chain.window_of(view) for view in (revisit.first, revisit.second)]
    half = max(1, min(len(part) for part in chain.parts) // 2)
    groups = [
        _around(view, chain.parts[k], half)
        for view, k in zip((revisit.first, revisit.second), ends, strict=True)
    ]
    both = predict([*groups[0], *groups[1]])
    missed = _missed(both, revisit, groups)
    if not missed <= MISSED:
        return None, f"what both should see lies apart by {missed:.0%} of its depth"
    joined = []
    for place, (k, group) in enumerate(zip(ends, groups, strict=True)):
        start = group.start - chain.parts[k].start
        own = views_of(chain.seen[k], start, start + len(group))
        again = views_of(both, place * half, (place + 1) * half)
        found = join(own, again, group.start)
        if found.weak or found.rotation_degrees > TURNED:
            return None, "seen together, views lie otherwise than in their own window"
        joined.append(found.similarity)
    first, second = joined
    return Edge(first=ends[0], second=ends[1], similarity=first @ second.inverse, weight=SURER), ""


def _around(view: int, part: range, count: int) -> range:
    """So many views of a window, as near to one of its views as there are."""
    start = min(max(view - count // 2, part.start), part.stop - count)
    return range(start, start + count)


def _missed(both: Prediction, revisit: Revisit, groups: Sequence[range]) -> float:
    """Median distance, over depth, of what the two visits see of the same keypoints."""
    points = []
    for view, xy, group, before in (
        (revisit.first, revisit.first_xy, groups[0], 0),
        (revisit.second, revisit.second_xy, groups[1], len(groups[0])),
    ):
        points.append(_seen(both, before + view - group.start, xy))
    centers = camera_centers(both.world_to_camera[0])
    reach = (points[0] - centers[revisit.first - groups[0].start]).norm(dim=1)
    apart = (points[0] - points[1]).norm(dim=1) / reach.clamp_min(1e-12)
    known = apart.isfinite()
    return float(apart[known].median()) if known.any() else float("inf")


def _seen(both: Prediction, view: int, xy: Float64[Tensor, "m 2"]) -> Float64[Tensor, "m 3"]:
    """World points of pixels of one view; NaN where there is no depth."""
    one = views_of(both, view, view + 1)
    world = unproject(one.depth.double(), one.world_to_camera.double(), one.intrinsics.double())[
        0, 0
    ]
    height, width = world.shape[:2]
    x, y = xy.long().unbind(1)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    there = one.depth[0, 0, y, x] > 0
    return torch.where(there[:, None], world[y, x], torch.nan)
