"""Which keypoints of two photos show the same, checked by the geometry of two views."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from recon_backbones.refine.keypoints import Keypoints

RATIO = 0.85  # of the distance to the best match over that to the second best
FEWEST = 20  # matches that two photos must have in one epipolar geometry
TOLERANCE = 1.5  # pixels from an epipolar line
Matches = tuple[int, int, Int64[Tensor, "m 2"]]  # two views, rows of a keypoint of each


def match_all(
    keypoints: Sequence[Keypoints],
    pairs: Sequence[tuple[int, int]],
    *,
    advance: Callable[[], object] = lambda: None,
) -> list[Matches]:
    """Match pairs of views; those that show nothing in common are left out."""
    found = []
    for i, j in pairs:
        rows = match_pair(keypoints[i], keypoints[j])
        if len(rows):
            found.append((i, j, rows))
        advance()
    return found


def match_pair(one: Keypoints, other: Keypoints) -> Int64[Tensor, "m 2"]:
    """Rows of keypoints that are each other's best, clearly so, and fit one epipolar geometry.

    None where fewer than `FEWEST` do.
    """
    rows = alike(one, other)
    if len(rows) < FEWEST:
        return rows[:0]
    kept = epipolar(one.xy[rows[:, 0]] / one.pixel, other.xy[rows[:, 1]] / other.pixel)
    rows = rows[kept]
    return rows if len(rows) >= FEWEST else rows[:0]


def alike(one: Keypoints, other: Keypoints) -> Int64[Tensor, "m 2"]:
    """Rows of keypoints that are each other's best, and better than the second by `RATIO`."""
    if min(len(one), len(other)) < 2:
        return torch.zeros(0, 2, dtype=torch.int64, device="cpu")
    likeness = one.descriptors @ other.descriptors.T
    top, place = likeness.topk(2, dim=1)
    back = likeness.argmax(dim=0)
    here = torch.arange(len(one), device=place.device)
    apart = (2 - 2 * top).clamp_min(0).sqrt()  # distances of unit vectors
    kept = (back[place[:, 0]] == here) & (apart[:, 0] < RATIO * apart[:, 1])
    return torch.stack([here[kept], place[kept, 0]], dim=1)


def epipolar(one: Float64[Tensor, "m 2"], other: Float64[Tensor, "m 2"]) -> Bool[Tensor, " m"]:
    """Which matches fit the fundamental matrix that most of them fit.

    Where that is undetermined, as of two photos from one place, the homography that most fit.
    """
    here, there = (np.ascontiguousarray(xy.numpy()) for xy in (one, other))
    cv2.setRNGSeed(0)
    try:
        kept = cv2.findFundamentalMat(here, there, cv2.USAC_MAGSAC, TOLERANCE, 0.9999, 5000)[1]
    except cv2.error:  # OpenCV has no model of a degenerate sample
        kept = cv2.findHomography(here, there, cv2.RANSAC, TOLERANCE)[1]
    if kept is None:
        return torch.zeros(len(one), dtype=torch.bool, device="cpu")
    return torch.from_numpy(kept[:, 0] > 0)


def choose_pairs(
    world_to_camera: Float64[Tensor, "v 3 4"], neighbors: int
) -> list[tuple[int, int]]:
    """All pairs of few views; of many, each with those before it and those that look alike."""
    views = len(world_to_camera)
    if views <= 2 * neighbors:
        return [(i, j) for i in range(views) for j in range(i + 1, views)]
    rotation, translation = world_to_camera[:, :, :3], world_to_camera[:, :, 3:]
    centers = -(rotation.mT @ translation)[..., 0]
    apart = torch.cdist(centers, centers)
    apart = apart / apart.median().clamp_min(1e-12)
    turned = 1 - rotation[:, 2] @ rotation[:, 2].T
    score = apart + 2 * turned
    score.fill_diagonal_(torch.inf)
    near = score.topk(neighbors // 2, dim=1, largest=False).indices
    return sorted({*_alike(near), *_before(views, neighbors // 2)})


def _alike(near: Int64[Tensor, "v n"]) -> Iterator[tuple[int, int]]:
    for i, row in enumerate(near.tolist()):
        yield from ((min(i, j), max(i, j)) for j in row)


def _before(views: int, neighbors: int) -> Iterator[tuple[int, int]]:
    """Photos in the order in which they were taken."""
    for i in range(views):
        yield from ((i, j) for j in range(i + 1, min(i + 1 + neighbors, views)))
