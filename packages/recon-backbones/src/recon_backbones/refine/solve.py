"""From tracks and the network's cameras to better ones, or to the same where none are found."""

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
FITS = 0.8  # share of observations near their points from which a start needs no other
STEPS = 25  # at most, of bundle adjustment
HOPELESS = 0.25  # median error, in scales of the loss, from which a stricter loss does not help
QUIET = 1e-5  # relative fall of the cost in a step at which bundle adjustment ends


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

    Both are compared with the start by the same cost of the same observations.
    """
    before, at_start = _judged(views.start, tracks, views)
    median_before = _median(views.start, at_start, views)
    found = [_from(views.start, tracks, views, before=before, median_before=median_before)]
    if float(found[0].near.double().mean()) < FITS:
        grown = grow(tracks, views)
        if grown is not None:
            scale = spread_ratio(views.start, grown.cameras, grown.placed)
            whole = carried(_scaled(grown.cameras, scale), views.start, grown.placed)
            again = _from(
                whole, tracks, views, before=before, median_before=median_before, anew=True
            )
            found.append(again)
    return min(found, key=lambda solved: solved.after)


def _from(
    cameras: Cameras,
    tracks: Tracks,
    views: Views,
    *,
    before: float,
    median_before: float,
    anew: bool = False,
) -> Solved:
    """Adjust from some cameras, with a loss that becomes strict by and by."""
    lenses = views.lenses()
    if not anew:
        cameras = lenses.together(cameras)
    tracks = tracks.at(triangulate(cameras, tracks))
    for scale in SCALES[anew:]:
        loss = Loss(scale=scale * views.pixel)
        done = adjust(cameras, tracks, loss, lenses, steps=STEPS, tolerance=QUIET)
        cameras, tracks = done.cameras, done.tracks
        if not anew and _median(cameras, tracks, views) > HOPELESS * scale:
            break
    after, tracks = _judged(cameras, tracks, views, keep=True)
    near = _near(cameras, tracks, views)
    seen = torch.bincount(tracks.view[near], minlength=len(cameras))
    return Solved(
        cameras=cameras,
        tracks=tracks,
        near=near,
        placed=seen >= FEWEST,
        before=before,
        after=after,
        median_before=median_before,
        median_after=_median(cameras, tracks, views),
        anew=anew,
    )


def _judged(
    cameras: Cameras, tracks: Tracks, views: Views, *, keep: bool = False
) -> tuple[float, Tracks]:
    """The strict cost of cameras, their points moved to where they fit best."""
    lenses = views.lenses()
    tracks = tracks if keep else tracks.at(triangulate(cameras, tracks))
    for scale in SCALES[-1:] if keep else SCALES:
        loss = Loss(scale=scale * views.pixel)
        done = adjust(cameras, tracks, loss, lenses, steps=20, tolerance=QUIET, points_alone=True)
        tracks = done.tracks
    return loss.cost(cameras, tracks), tracks


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
