"""Views far apart in a sequence that show the same place, by keypoints that match."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor

from recon_backbones.refine.keypoints import find_keypoints
from recon_backbones.refine.matching import match_pair

SAMPLED = 40  # views, spread evenly, that are compared
KEYPOINTS = 600
ENOUGH = 30  # matches in one epipolar geometry: chance gives fewer
MOST = 3  # places that are gone on with


@dataclass(frozen=True, kw_only=True)
class Revisit:
    """Two views of one place, and where each sees what both see, in pixels of the views."""

    first: int
    second: int
    first_xy: Float64[Tensor, "m 2"]
    second_xy: Float64[Tensor, "m 2"]


def find_revisits(
    images: Float[Tensor, "v 3 y x"], apart: Callable[[int, int], bool]
) -> list[Revisit]:
    """Find pairs of views that match, the most certain first, no two close to each other.

    - `apart`: whether two views are far enough from each other to be of interest.
    """
    views = len(images)
    some = np.unique(np.linspace(0, views - 1, min(views, SAMPLED)).round().astype(int)).tolist()
    pairs = [(i, j) for i in some for j in some if i < j and apart(i, j)]
    needed = sorted({view for pair in pairs for view in pair})
    keypoints = {view: find_keypoints(_pixels(images[view]), most=KEYPOINTS) for view in needed}
    found = []
    for i, j in pairs:
        rows = match_pair(keypoints[i], keypoints[j])
        if len(rows) >= ENOUGH:
            one, other = keypoints[i].xy[rows[:, 0]], keypoints[j].xy[rows[:, 1]]
            found.append(Revisit(first=i, second=j, first_xy=one, second_xy=other))
    found.sort(key=lambda revisit: -len(revisit.first_xy))
    return _spread(found, apart)[:MOST]


def _spread(found: Sequence[Revisit], apart: Callable[[int, int], bool]) -> list[Revisit]:
    """Of pairs whose views are neighbors of another pair's, the first alone."""
    taken: list[Revisit] = []
    for revisit in found:
        if all(
            apart(*sorted((revisit.first, other.first)))
            or apart(*sorted((revisit.second, other.second)))
            for other in taken
        ):
            taken.append(revisit)
    return taken


def _pixels(image: Float[Tensor, "3 y x"]) -> np.ndarray:
    pixels = (image * 255).round().clamp(0, 255).byte()
    return np.ascontiguousarray(rearrange(pixels, "c y x -> y x c").cpu().numpy())
