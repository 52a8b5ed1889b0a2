"""Bundle adjustment: cameras and points at once, so that points land where they were seen.

Levenberg and Marquardt's method with a robust loss (Cauchy's, by weights that are computed anew at
each step). Points are eliminated first (Schur's complement), so that what is solved is as large as
the cameras are many. Source: Triggs et al., "Bundle adjustment, a modern synthesis", 1999.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float64, Int64
from torch import Tensor

from recon_backbones.refine.lenses import Lenses
from recon_backbones.refine.model import LOCAL, Cameras, errors, linearize
from recon_backbones.refine.tracks import Tracks

BEHIND = 1e6  # squared error, in squares of the scale, of what a camera has behind it
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e8
AT_ONCE = 60_000  # observations, or pairs of them, whose blocks are in memory
A_PAIR = 3_300  # bytes of a pair of views, at most, while a step of all cameras is found


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """Cameras and points after bundle adjustment, and the cost before and after."""

    cameras: Cameras
    tracks: Tracks
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Cauchy's: errors far above `scale` (pixels, one for each view) hardly count."""

    scale: Float64[Tensor, " v"]

    def cost(self, cameras: Cameras, tracks: Tracks) -> float:
        """Sum over all observations, in squares of the scale."""
        return float(self._squares(cameras, tracks).log1p().sum())

    def weights(self, cameras: Cameras, tracks: Tracks) -> Float64[Tensor, " o"]:
        """Of the squared errors in pixels, so that they pull as the loss does."""
        squares = self._squares(cameras, tracks)
        return 1 / (1 + squares) / self.scale[tracks.view] ** 2

    def _squares(self, cameras: Cameras, tracks: Tracks) -> Float64[Tensor, " o"]:
        error, ahead = errors(cameras, tracks)
        squares = error.square().sum(1) / self.scale[tracks.view] ** 2
        return torch.where(ahead, squares, BEHIND).clamp_max(BEHIND)


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """The normal equations in blocks: of cameras, of points, and between the two."""

    cameras: Float64[Tensor, "v 10 10"]
    points: Float64[Tensor, "p 3 3"]
    between: Float64[Tensor, "o 10 3"]
    camera_side: Float64[Tensor, "v 10"]
    point_side: Float64[Tensor, "p 3"]


def adjust(
    cameras: Cameras,
    tracks: Tracks,
    loss: Loss,
    lenses: Lenses,
    *,
    steps: int = 50,
    tolerance: float = 1e-7,
    points_alone: bool = False,
) -> Adjusted:
    """Move cameras and points until the cost falls by less than a fraction `tolerance` a step.

    - `points_alone`: cameras stay as they are.

    What is returned never costs more than what was given. The frame and the unit are free to
    drift; `gauge` brings them back.
    """
    start = cost = loss.cost(cameras, tracks) + lenses.cost(cameras)
    damping, small = 1e-4, 0
    for _ in range(steps):
        blocks = _blocks(cameras, tracks, loss, lenses)
        while damping < MOST_DAMPING:
            moved = _step(cameras, tracks, blocks, lenses, damping, points_alone=points_alone)
            trial = loss.cost(*moved) + lenses.cost(moved[0])
            if trial < cost:
                break
            damping *= 8
        else:
            break
        damping = max(damping / 8, LEAST_DAMPING)
        small = small + 1 if cost - trial <= tolerance * cost else 0
        (cameras, tracks), cost = moved, trial
        if small == 2:
            break
    return Adjusted(cameras=cameras, tracks=tracks, before=start, after=cost)


def _blocks(cameras: Cameras, tracks: Tracks, loss: Loss, lenses: Lenses) -> _Blocks:
    weights, points = loss.weights(cameras, tracks), len(tracks)
    matrix, side = lenses.prior(cameras)
    found = _Blocks(
        cameras=matrix,
        points=_zeros(points, 3, 3),
        between=_zeros(len(tracks.view), LOCAL, 3),
        camera_side=side,
        point_side=_zeros(points, 3),
    )
    for start in range(0, len(tracks.view), AT_ONCE):  # a kilobyte each while they are worked on
        some = slice(start, start + AT_ONCE)
        _add(found, some, cameras, tracks.some(some), weights[some])
    return found


def _add(
    to: _Blocks, some: slice, cameras: Cameras, part: Tracks, weights: Float64[Tensor, " o"]
) -> None:
    """Add what some of the observations say."""
    found = linearize(cameras, part)
    weight = (weights * found.ahead)[:, None, None]
    by_camera, by_point = weight * found.by_camera, weight * found.by_point
    error, both = found.error[..., None], found.by_camera.mT
    to.cameras.index_add_(0, part.view, both @ by_camera)
    to.points.index_add_(0, part.point, found.by_point.mT @ by_point)
    to.between[some] = both @ by_point
    to.camera_side.index_add_(0, part.view, (by_camera.mT @ error)[..., 0])
    to.point_side.index_add_(0, part.point, (by_point.mT @ error)[..., 0])


def _step(
    cameras: Cameras,
    tracks: Tracks,
    blocks: _Blocks,
    lenses: Lenses,
    damping: float,
    *,
    points_alone: bool,
) -> tuple[Cameras, Tracks]:
    """One damped step of all cameras and points."""
    inverse = torch.linalg.inv(_damped(blocks.points, damping))
    side = -blocks.point_side
    if not points_alone:
        step = _camera_step(tracks, blocks, inverse, lenses, damping)
        pulled = (blocks.between.mT @ step[tracks.view][..., None])[..., 0]
        side = side.index_add(0, tracks.point, -pulled)
        cameras = cameras.moved(step)
    points = tracks.points + (inverse @ side[..., None])[..., 0]
    return cameras, tracks.at(points)


def _camera_step(
    tracks: Tracks,
    blocks: _Blocks,
    inverse: Float64[Tensor, "p 3 3"],
    lenses: Lenses,
    damping: float,
) -> Float64[Tensor, "v 10"]:
    views = len(blocks.cameras)
    reduced = -_through_points(tracks, blocks.between, inverse, views)
    diagonal = torch.arange(views, device="cpu") * (views + 1)
    reduced.index_add_(0, diagonal, _damped(blocks.cameras, damping))
    eased = (inverse @ blocks.point_side[..., None])[tracks.point]
    side = -blocks.camera_side.index_add(0, tracks.view, -(blocks.between @ eased)[..., 0])
    square = rearrange(reduced, "(u v) i j -> (u i) (v j)", v=views)
    matrix, right = lenses.tie(square, side.flatten())
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        solved = torch.linalg.lstsq(matrix, right[:, None]).solution
    else:
        solved = torch.cholesky_solve(right[:, None], factor)
    return rearrange(lenses.untie(solved[:, 0]), "(v local) -> v local", v=views)


def _through_points(
    tracks: Tracks,
    between: Float64[Tensor, "o 10 3"],
    inverse: Float64[Tensor, "p 3 3"],
    views: int,
) -> Float64[Tensor, "pairs 10 10"]:
    """What pairs of views have to do with each other by the points that both see."""
    total = _zeros(views * views, LOCAL, LOCAL)
    counts = torch.bincount(tracks.point, minlength=len(tracks))
    first = counts.cumsum(0) - counts
    for length in counts.unique().tolist():
        group = (counts == length).nonzero()[:, 0]
        for part in group.split(max(1, AT_ONCE // max(1, length * length))):
            rows: Int64[Tensor, "g n"] = first[part, None] + torch.arange(length, device="cpu")
            own = between[rows]
            eased = own @ inverse[part, None]
            pairs = torch.einsum("gaix,gbjx->gabij", eased, own)
            seen = tracks.view[rows]
            index = seen[:, :, None] * views + seen[:, None]
            total.index_add_(0, index.flatten(), rearrange(pairs, "g a b i j -> (g a b) i j"))
    return total


def _damped(blocks: Float64[Tensor, "n k k"], damping: float) -> Float64[Tensor, "n k k"]:
    """Each unknown by a share of its own diagonal, so that units do not matter."""
    diagonal = blocks.diagonal(dim1=-2, dim2=-1)
    return blocks + torch.diag_embed(torch.where(diagonal > 0, damping * diagonal, 1.0))


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, device="cpu")
