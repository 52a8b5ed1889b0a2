"""Tracks: the pixels of several photos that show one point of the scene."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

AT_ONCE = 4096  # points whose views are in a table


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Which view sees which point, and where; sorted by point.

    - `view`, `point`: of each observation, counted from 0.
    - `xy`: in pixels, the middle of the first at 0.5.
    - `points`: in the world, one for each track.
    """

    view: Int64[Tensor, " o"]
    point: Int64[Tensor, " o"]
    xy: Float64[Tensor, "o 2"]
    points: Float64[Tensor, "p 3"]

    def __len__(self) -> int:
        return len(self.points)

    def of(self, kept: Bool[Tensor, " o"], *, least: int = 2) -> "Tracks":
        """Some observations, and the points that at least `least` views still see."""
        counts = torch.bincount(self.point[kept], minlength=len(self.points))
        stays = counts >= least
        kept = kept & stays[self.point]
        number = stays.cumsum(0) - 1
        return Tracks(
            view=self.view[kept],
            point=number[self.point[kept]],
            xy=self.xy[kept],
            points=self.points[stays],
        )

    def shared(self, views: int) -> Float32[Tensor, "v v"]:
        """How many points each of so many views shares with each other, above the diagonal."""
        counts = torch.zeros(views, views, dtype=torch.float32, device="cpu")
        for first in range(0, len(self), AT_ONCE):  # every view by every point is no small table
            start, end = torch.searchsorted(
                self.point, self.point.new_tensor([first, first + AT_ONCE])
            )
            sees = torch.zeros(views, AT_ONCE, dtype=torch.float32, device="cpu")
            sees[self.view[start:end], self.point[start:end] - first] = 1.0
            counts += sees @ sees.T
        return counts.triu(diagonal=1)

    def joined(self, views: int, least: int) -> Bool[Tensor, " v"]:
        """The largest part of the views in which `least` shared points lead from each to each."""
        near = self.shared(views) >= least
        near = near | near.T | torch.eye(views, dtype=torch.bool, device="cpu")
        part = torch.arange(views, device="cpu")
        while True:  # each view takes the smallest number around it
            lowest = torch.where(near, part, views).amin(dim=1)
            lowest = lowest[lowest]
            if torch.equal(lowest, part):
                return part == torch.bincount(part).argmax()
            part = lowest

    def some(self, chosen: slice) -> "Tracks":
        """Some observations, of all points."""
        return replace(self, view=self.view[chosen], point=self.point[chosen], xy=self.xy[chosen])

    def at(self, points: Float64[Tensor, "p 3"]) -> "Tracks":
        """The same observations of points elsewhere."""
        return replace(self, points=points)


def join_matches(
    keypoints: Sequence[Float64[Tensor, "_ 2"]],
    matches: Sequence[tuple[int, int, Int64[Tensor, "_ 2"]]],
) -> Tracks:
    """Chain matches of pairs of views into tracks; their points are not known yet (zero).

    - `matches`: two views, and rows of one keypoint of each.

    A track that meets one view at two keypoints contradicts itself, and is left out.
    """
    starts = torch.tensor([0, *(len(k) for k in keypoints)], device="cpu").cumsum(0)
    total = int(starts[-1])
    root = torch.arange(total, device="cpu")
    edges = [rows + starts[[i, j]] for i, j, rows in matches]
    ends = torch.cat([torch.zeros(0, 2, dtype=torch.int64, device="cpu"), *edges])
    while len(ends):  # each keypoint takes the smallest number in its neighborhood, then its root's
        low = root[ends].amin(dim=1)
        before = root.clone()
        for side in (0, 1):
            root.scatter_reduce_(0, root[ends[:, side]], low, reduce="amin")
            root.scatter_reduce_(0, ends[:, side], low, reduce="amin")
        root = root[root]
        if torch.equal(root, before):
            break
    view = torch.repeat_interleave(torch.arange(len(keypoints), device="cpu"), starts.diff())
    where = (torch.bincount(root, minlength=total)[root] >= 2).nonzero()[:, 0]
    seen, times = torch.unique(root[where] * len(keypoints) + view[where], return_counts=True)
    twice = torch.zeros(total, dtype=torch.bool, device="cpu")
    twice[seen[times > 1] // len(keypoints)] = True
    where = where[~twice[root[where]]]
    where = where[torch.argsort(root[where], stable=True)]
    _, point = torch.unique(root[where], return_inverse=True)
    xy = (
        torch.cat(list(keypoints))
        if keypoints
        else torch.zeros(0, 2, dtype=torch.float64, device="cpu")
    )
    count = int(point.max()) + 1 if len(point) else 0
    return Tracks(
        view=view[where],
        point=point,
        xy=xy[where].double(),
        points=torch.zeros(count, 3, dtype=torch.float64, device="cpu"),
    )
