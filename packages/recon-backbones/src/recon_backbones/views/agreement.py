"""The unit of depth when cameras are given: the one in which the views agree.

A network's depth is right up to a factor. With known cameras only one factor makes pixels
of one view land, in another, on pixels that show the same. It is searched for over three
decades: coarsely, then finely round the best. Depths are not compared with each other: those
of a network err alike in neighboring views, and agree best in a wrong unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from recon_backbones.blocks.precision import at_least_float32
from recon_backbones.prediction import Prediction

SPAN, COARSE, FINE = 33.0, 41, 11  # largest factor either way; steps of the two searches
PAIRS, STRIDE = 64, 4  # pairs of views and pixels between samples
NEIGHBORS, WIDEST = 24, np.cos(np.radians(45))  # a view's partners: the nearest, looking alike
SIGMA, DARKEST = 1.5, 30.0  # blur in pixels; difference of gray values that counts at most
LEAST = 50  # samples that two views must share
CLEAR = 0.97  # of the typical cost: a best one above it is no answer


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A factor on depth, and whether views agree there clearly better than elsewhere."""

    factor: float
    clear: bool


@dataclass(frozen=True, kw_only=True)
class _Views:
    gray: Mapping[int, Float32[np.ndarray, "y x"]]  # of those that pairs hold
    depth: Float[np.ndarray, "v y x"]
    world_to_camera: Float[np.ndarray, "v 3 4"]
    intrinsics: Float[np.ndarray, "v 3 3"]


def agreeing_factor(prediction: Prediction, pictures: UInt8[np.ndarray, "v y x 3"]) -> Agreement:
    """Find the factor on the depths of one scene with which its cameras agree.

    - `pictures`: the views as the network saw them.

    Without two views that see the same, or where
    the cost has no clear minimum (cameras in one place, nothing to see), `clear` is False.
    """
    cameras = prediction.world_to_camera[0].double().numpy()
    pairs = _pairs(cameras)
    if not pairs:
        return Agreement(factor=1.0, clear=False)
    views = _Views(
        gray={
            view: _smooth(pictures[view]) for view in sorted({v for pair in pairs for v in pair})
        },
        depth=at_least_float32(prediction.depth[0]).numpy(),
        world_to_camera=cameras,
        intrinsics=prediction.intrinsics[0].double().numpy(),
    )
    factors = np.geomspace(1 / SPAN, SPAN, COARSE)
    costs = np.array([_cost(views, pairs, factor) for factor in factors])
    best = int(costs.argmin())
    inside = 0 < best < COARSE - 1
    if not inside or costs[best] > CLEAR * float(np.median(costs)):
        return Agreement(factor=1.0, clear=False)
    around = np.geomspace(factors[best - 1], factors[best + 1], FINE)
    finer = [_cost(views, pairs, factor) for factor in around]
    return Agreement(factor=float(around[int(np.argmin(finer))]), clear=True)


def _smooth(picture: UInt8[np.ndarray, "y x 3"]) -> Float32[np.ndarray, "y x"]:
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), SIGMA))


def _pairs(world_to_camera: Float[np.ndarray, "v 3 4"]) -> list[tuple[int, int]]:
    """Of each view's near partners that look the same way, three at rising distance."""
    rotation, translation = world_to_camera[:, :, :3], world_to_camera[:, :, 3]
    centers = -np.einsum("vji,vj->vi", rotation, translation)
    ahead = rotation[:, 2]
    found = []
    for i in range(len(centers)):
        apart = np.linalg.norm(centers - centers[i], axis=1)
        alike = np.flatnonzero((ahead @ ahead[i] > WIDEST) & (apart > 0))
        near = alike[np.argsort(apart[alike])][:NEIGHBORS]
        places = {max(0, k * len(near) // 3 - 1) for k in (1, 2, 3)} if len(near) else ()
        found += [(i, int(near[place])) for place in places]
    some = np.unique(np.linspace(0, len(found) - 1, min(PAIRS, len(found))).round().astype(int))
    return [found[k] for k in some]


def _cost(views: _Views, pairs: Sequence[tuple[int, int]], factor: float) -> float:
    """Mean disagreement of pairs of views; at most 1."""
    return float(np.mean([_disagreement(views, i, j, factor) for i, j in pairs]))


def _disagreement(views: _Views, i: int, j: int, factor: float) -> float:
    """Between view i and what view j shows there; at most 1, as where nothing is shared."""
    height, width = views.depth.shape[1:]
    rows, columns = np.mgrid[STRIDE // 2 : height : STRIDE, STRIDE // 2 : width : STRIDE]
    depth = views.depth[i][rows, columns].ravel().astype(np.float64) * factor
    pixels = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5, np.ones(depth.size)], axis=1)
    inside_i = (pixels @ np.linalg.inv(views.intrinsics[i]).T) * depth[:, None]
    one, other = views.world_to_camera[i], views.world_to_camera[j]
    inside_j = ((inside_i - one[:, 3]) @ one[:, :3]) @ other[:, :3].T + other[:, 3]
    z = inside_j[:, 2]
    seen = (depth > 0) & (z > 0)
    projected = (inside_j[seen] @ views.intrinsics[j].T) / z[seen, None]
    x, y = projected[:, 0], projected[:, 1]
    hit = (x >= 1) & (x < width - 1) & (y >= 1) & (y < height - 1)
    if hit.sum() < LEAST:
        return 1.0
    here = views.gray[i][rows, columns].ravel()[seen][hit]
    place = ((x[hit] - 0.5).astype(np.float32)[None], (y[hit] - 0.5).astype(np.float32)[None])
    there = cv2.remap(views.gray[j], *place, cv2.INTER_LINEAR)[0]
    difference = np.abs((here - here.mean()) - (there - there.mean()))  # exposure may differ
    return float(np.minimum(difference, DARKEST).mean()) / DARKEST
