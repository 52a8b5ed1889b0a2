"""From tracks and the network's cameras to better ones, or to the same where none are found."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from recon_backbones.refine.bundle import Loss, adjust
from recon_backbones.refine.gauge import carried, spread_ratio
from recon_backbones.refine.grow import FAR_OFF, FEWEST, NARROW, Views, grow
from recon_backbones.refine.model import Cameras, angles, errors, triangulate
from recon_backbones.refine.tracks import Tracks

SCALES = (16.0, 4.0, 1.0)  # pixels: of the loss, one after the other
TIGHT, LEAST = 3.0, 0.1  # at last, in median errors, but not below so many pixels
STEPS = 25  # at most, of bundle adjustment
QUIET = 1e-5  # relative fall of the cost in a step at which bundle adjustment ends
HOPELESS = 0.25  # median error, in scales of the loss, from which a stricter loss does not help
FITS = 0.92  # share of observations near their points from which a start needs no other
HALF = 0.5  # the same of each view


@dataclass(frozen=True, kw_only=True)
class Solved:
    """Cameras that fit the tracks, in a frame and a unit of their own.

    - `near`: observations that agree with their points; `placed`: views that have enough of them.
    - `before`, `after`: cost of the start and of this, points at their best in both.
    - `median_before`, `median_after`: of the errors of all observations, in pixels of the photos
      as keypoints were looked for.
    - `anew`: whether cameras were built from matches alone.
    """

    cameras: Cameras
    tracks: Tracks
    near: Bool[Tensor, " o"]
    placed: Bool[Tensor, " v"]
    before: float
    after: float
    median_before: float
    median_after: float
    anew: bool

    @property
    def better(self) -> bool:
        """Whether it fits better than the start."""
        return self.after < self.before and int(self.placed.sum()) >= 2


def solve(tracks: Tracks, views: Views) -> Solved:
    """Adjust the start; where much then disagrees still, build cameras anew; take what fits best.

    At last the loss is as strict as the matches are exact, and by it the start is judged too.
    """
    cameras, found = _adjusted(views.lenses().together(views.start), tracks, views, SCALES)
    anew = False
    if not _fits(cameras, found, views):
        grown = grow(tracks, views)
        if grown is not None:
            scale = spread_ratio(views.start, grown.cameras, grown.placed)
            whole = carried(_scaled(grown.cameras, scale), views.start, grown.placed)
            other, again = _adjusted(whole, tracks, views, SCALES[1:])
            loss = Loss(scale=SCALES[-1] * views.pixel)
            anew = loss.cost(other, again) < loss.cost(cameras, found)
            cameras, found = (other, again) if anew else (cameras, found)
    scale = max(LEAST, min(SCALES[-1], TIGHT * _median(cameras, found, views)))
    cameras, found = _adjusted(cameras, found, views, (scale,))
    at_start = _fitted(views.start, tracks, views, (*SCALES, scale))
    near = _near(cameras, found, views)
    seen = torch.bincount(found.view[near], minlength=len(cameras))
    loss = Loss(scale=scale * views.pixel)
    return Solved(
        cameras=cameras,
        tracks=found,
        near=near,
        placed=seen >= FEWEST,
        before=loss.cost(views.start, at_start),
        after=loss.cost(cameras, found),
        median_before=_median(views.start, at_start, views),
        median_after=_median(cameras, found, views),
        anew=anew,
    )


def _adjusted(
    cameras: Cameras, tracks: Tracks, views: Views, scales: Sequence[float]
) -> tuple[Cameras, Tracks]:
    """Cameras and points adjusted, with a loss that becomes strict by and by."""
    lenses = views.lenses()
    if len(scales) > 1:
        tracks = tracks.at(triangulate(cameras, tracks))
    for scale in scales:
        loss = Loss(scale=scale * views.pixel)
        done = adjust(cameras, tracks, loss, lenses, steps=STEPS, tolerance=QUIET)
        cameras, tracks = done.cameras, done.tracks
        if _median(cameras, tracks, views) > HOPELESS * scale:
            break
    return cameras, _fitted(cameras, tracks, views, scales[-1:])


def _fitted(cameras: Cameras, tracks: Tracks, views: Views, scales: Sequence[float]) -> Tracks:
    """Points moved to where they fit the cameras best."""
    lenses = views.lenses()
    if len(scales) > 1:
        tracks = tracks.at(triangulate(cameras, tracks))
    for scale in scales:
        loss = Loss(scale=scale * views.pixel)
        tracks = adjust(
            cameras, tracks, loss, lenses, steps=STEPS, tolerance=QUIET, points_alone=True
        ).tracks
    return tracks


def _fits(cameras: Cameras, tracks: Tracks, views: Views) -> bool:
    """Whether nearly all observations agree with their points, in each view at least half."""
    near = _near(cameras, tracks, views)
    seen = torch.bincount(tracks.view, minlength=len(cameras))
    agree = torch.bincount(tracks.view[near], minlength=len(cameras))
    shares = (agree / seen.clamp_min(1))[seen >= FEWEST]
    return float(near.double().mean()) >= FITS and bool((shares >= HALF).all())


def _near(cameras: Cameras, tracks: Tracks, views: Views) -> Bool[Tensor, " o"]:
    """Observations that agree with their points, of points that have a depth."""
    error, ahead = errors(cameras, tracks)
    near = ahead & (error.norm(dim=1) < FAR_OFF * views.pixel[tracks.view])
    counts = torch.bincount(tracks.point[near], minlength=len(tracks))
    sure = (counts >= 2) & (angles(cameras, tracks, near) >= NARROW)
    return near & sure[tracks.point]


def _median(cameras: Cameras, tracks: Tracks, views: Views) -> float:
    error, _ = errors(cameras, tracks)
    pixels: Float64[Tensor, " o"] = error.norm(dim=1) / views.pixel[tracks.view]
    return float(pixels.median())


def _scaled(cameras: Cameras, scale: float) -> Cameras:
    return Cameras(
        rotation=cameras.rotation, translation=cameras.translation * scale, lens=cameras.lens
    )
