"""Cameras from matches alone, one after the other, where those of the network are too far off.

Two views that share much begin; then always the view that sees most of the known points, placed by
them (perspective-n-point), then new points, then bundle adjustment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from recon_backbones.refine.bundle import Loss, adjust
from recon_backbones.refine.lenses import Focal, Lenses
from recon_backbones.refine.model import Cameras, angles, errors, triangulate
from recon_backbones.refine.tracks import Tracks

FEWEST = 15  # points by which a view is placed
NARROW = 0.75  # degrees: points seen under half this angle or less have no depth
FAR_OFF = 4.0  # pixels: further from its point, an observation is left out
PAIRS = 12  # pairs that may begin
WIDE = 8.0  # degrees from which a wider pair is no better a beginning
FOCALS = (0.6, 0.75, 0.87, 1.0, 1.15, 1.33, 1.66)  # times that of the start, at the beginning
AGAIN = 1.25  # all are adjusted anew when views have grown by this factor
TIGHT = 1.0  # pixels within which the two views of a beginning must agree


@dataclass(frozen=True, kw_only=True)
class Views:
    """The cameras that views start from, their photos' sizes, and the pixel that matches are in."""

    start: Cameras
    sizes: Sequence[tuple[int, int]]
    pixel: Float64[Tensor, " v"]
    focal: Focal

    def lenses(self) -> Lenses:
        """How their focal lengths hang together."""
        return Lenses.of(self.start, self.sizes, self.focal)


@dataclass(frozen=True, kw_only=True)
class Grown:
    """What is placed so far; other cameras mean nothing.

    - `placed`: views. `known`: points. `near`: observations that agree with their points.
    """

    cameras: Cameras
    tracks: Tracks
    placed: Bool[Tensor, " v"]
    known: Bool[Tensor, " p"]
    near: Bool[Tensor, " o"]


def grow(tracks: Tracks, views: Views) -> Grown | None:
    """Place as many views as the tracks hold together; None where not even two begin."""
    grown = _begin(tracks, views)
    if grown is None:
        return None
    grown = _settled(grown, views)
    settled, refused = int(grown.placed.sum()), torch.zeros_like(grown.placed)
    while True:
        view = _next(grown, refused)
        if view is None:
            return _settled(grown, views)
        with_it = _with(grown, view, views)
        if with_it is None:
            refused[view] = True
            continue
        grown = with_it
        if int(grown.placed.sum()) >= AGAIN * settled:
            grown = _settled(grown, views)
            settled, refused = int(grown.placed.sum()), torch.zeros_like(refused)


def _next(grown: Grown, refused: Bool[Tensor, " v"]) -> int | None:
    """The view that sees most of the known points."""
    tracks = grown.tracks
    seen = grown.known[tracks.point] & ~(grown.placed | refused)[tracks.view]
    counts = torch.bincount(tracks.view[seen], minlength=len(refused))
    view = int(counts.argmax())
    return view if int(counts[view]) >= FEWEST else None


def _begin(tracks: Tracks, views: Views) -> Grown | None:
    """The pair, and the focal length, by which most points fit under a good angle."""
    best: tuple[float, Grown] | None = None
    lenses = views.lenses()
    pairs = list(_pairs(tracks, len(views.start)))
    for factor in FOCALS if lenses.free else (1.0,):
        start = lenses.together(views.start)
        factors = start.lens.new_tensor([factor, factor, 1, 1])
        start = replace(start, lens=start.lens * factors)
        for i, j in pairs:
            cameras = _two(start, tracks, i, j, views)
            if cameras is None:
                continue
            placed = torch.zeros(len(start), dtype=torch.bool, device="cpu")
            placed[[i, j]] = True
            found = _renewed(cameras, tracks, placed, views, bound=TIGHT)
            wide = 2 * angles(cameras, found.tracks, found.near)[found.known]
            score = float(wide.clamp_max(WIDE).sum())
            if int(found.known.sum()) >= FEWEST and (best is None or score > best[0]):
                best = (score, found)
    return None if best is None else best[1]


def _pairs(tracks: Tracks, count: int) -> Iterator[tuple[int, int]]:
    """Those that share most tracks."""
    shared = tracks.shared(count)
    for number in shared.flatten().topk(min(PAIRS, shared.numel())).indices.tolist():
        i, j = divmod(number, count)
        if shared[i, j] >= FEWEST:
            yield i, j


def _two(start: Cameras, tracks: Tracks, i: int, j: int, views: Views) -> Cameras | None:
    """The cameras of two views by their essential matrix."""
    part = tracks.of((tracks.view == i) | (tracks.view == j))
    one, other = (_flat(start, part, k) for k in (i, j))
    tolerance = float(TIGHT * (views.pixel / start.lens[:, 0])[[i, j]].mean())
    cv2.setRNGSeed(0)
    try:
        essential, kept = cv2.findEssentialMat(
            one, other, np.eye(3), method=cv2.USAC_MAGSAC, prob=0.9999, threshold=tolerance
        )
    except cv2.error:  # OpenCV has no model of a degenerate sample
        return None
    if essential is None or essential.shape != (3, 3):
        return None
    _, rotation, translation, _ = cv2.recoverPose(
        essential, one, other, np.eye(3), mask=kept.copy()
    )
    cameras = start.take(torch.arange(len(start), device="cpu"))
    cameras.rotation[i] = torch.eye(3, dtype=torch.float64, device="cpu")
    cameras.translation[i] = 0
    cameras.rotation[j] = torch.from_numpy(rotation)
    cameras.translation[j] = torch.from_numpy(translation[:, 0])
    return cameras


def _flat(cameras: Cameras, tracks: Tracks, view: int) -> Float64[np.ndarray, "o 2"]:
    """What a view sees, at a depth of 1."""
    lens = cameras.lens[view]
    flat: Float64[np.ndarray, "o 2"]
    flat = ((tracks.xy[tracks.view == view] - lens[2:]) / lens[:2]).numpy()
    return flat


def _with(grown: Grown, view: int, views: Views) -> Grown | None:
    """One view more, placed by the known points that it sees; None where they disagree."""
    tracks, lens = grown.tracks, grown.cameras.lens[view]
    here = (tracks.view == view) & grown.known[tracks.point]
    points = tracks.points[tracks.point[here]].numpy()
    flat = ((tracks.xy[here] - lens[2:]) / lens[:2]).numpy()
    far = 2 * FAR_OFF * float(views.pixel[view] / lens[0])
    cv2.setRNGSeed(0)
    try:
        done, turn, shift, kept = cv2.solvePnPRansac(
            points, flat, np.eye(3), None, iterationsCount=1000, reprojectionError=far,
            confidence=0.9999, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
    except cv2.error:  # OpenCV refuses what lies in one place
        return None
    if not done or kept is None or len(kept) < max(FEWEST, len(flat) // 5):
        return None
    rows = kept[:, 0]
    turn, shift = cv2.solvePnPRefineLM(points[rows], flat[rows], np.eye(3), None, turn, shift)
    cameras = grown.cameras.take(torch.arange(len(grown.cameras), device="cpu"))
    cameras.rotation[view] = torch.from_numpy(cv2.Rodrigues(turn)[0])
    cameras.translation[view] = torch.from_numpy(shift[:, 0])
    placed = grown.placed.clone()
    placed[view] = True
    return _renewed(cameras, tracks, placed, views, known=grown.known)


def _settled(grown: Grown, views: Views) -> Grown:
    """All that is placed, adjusted at once; then what fits anew."""
    part = grown.tracks.of(grown.near & grown.known[grown.tracks.point])
    loss = Loss(scale=2 * views.pixel)
    done = adjust(grown.cameras, part, loss, views.lenses(), steps=20, tolerance=1e-4)
    points = grown.tracks.points.clone()
    points[grown.known] = done.tracks.points
    tracks = grown.tracks.at(points)
    return _renewed(done.cameras, tracks, grown.placed, views, known=grown.known)


def _renewed(
    cameras: Cameras,
    tracks: Tracks,
    placed: Bool[Tensor, " v"],
    views: Views,
    *,
    known: Bool[Tensor, " p"] | None = None,
    bound: float = FAR_OFF,
) -> Grown:
    """Points that the placed views now tell, and the observations that agree with them."""
    near = placed[tracks.view]
    stays = near.new_zeros(len(tracks)) if known is None else known
    for far in (4 * bound, bound, bound):
        points = torch.where(stays[:, None], tracks.points, triangulate(cameras, tracks, near))
        tracks = tracks.at(points)
        error, ahead = errors(cameras, tracks)
        within = error.norm(dim=1) < far * views.pixel[tracks.view]
        near = placed[tracks.view] & ahead & within
    counts = torch.bincount(tracks.point[near], minlength=len(tracks))
    sure = (counts >= 2) & (angles(cameras, tracks, near) >= NARROW)
    return Grown(cameras=cameras, tracks=tracks, placed=placed, known=sure, near=near)
