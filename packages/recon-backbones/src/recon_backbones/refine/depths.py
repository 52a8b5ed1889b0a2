"""Depth of each view as the points of the tracks have it, so that views lie on each other.

What a network says of one view is wrong by a factor that hardly changes across it: its logarithm is
nearly a plane. The plane is fitted to the tracks of the view, robustly, since tracks like corners,
where depth jumps. Where tracks are too few for a plane, or it foretells those that it was not
fitted to no better than one factor, one factor it is; where they are too few for that, the factor
of all views.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float64, Int64, Shaped
from torch import Tensor

from recon_backbones.reconstruction import Reconstruction
from recon_backbones.refine.model import Cameras, depths
from recon_backbones.refine.tracks import Tracks

FEW = 10  # observations from which a view has a factor of its own
MANY = 40  # those from which the factor may change across it
ROUNDS = 20  # of weighted least squares
WIDE = 3.0  # in typical deviations: what is further off counts little
DOUBT = 1.0  # observations that say that the factor does not change across a view


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """How depth at observed points differs from that of the points.

    - `log`: of the point's depth over the network's, one for each observation that can be compared.
    - `xy`: where in the view, from -1 to 1.
    - `view`, `point`: of each.
    """

    log: Float64[Tensor, " n"]
    xy: Float64[Tensor, "n 2"]
    view: Int64[Tensor, " n"]
    point: Int64[Tensor, " n"]

    @staticmethod
    def of(made: Reconstruction, cameras: Cameras, tracks: Tracks) -> "Ratios":
        """Compare depth, at the pixels that `made` keeps, with the points of tracks."""
        deep, xy = depths(cameras, tracks), places(made, tracks)
        found = _sampled(torch.from_numpy(made.depth), xy, tracks.view)
        kept = _sampled(torch.from_numpy(made.keep), xy, tracks.view) > 1 - 1e-6
        good = kept & (xy.abs() <= 1).all(dim=1) & (found > 0) & (deep > 0)
        return Ratios(
            log=(deep[good] / found[good]).log(),
            xy=xy[good],
            view=tracks.view[good],
            point=tracks.point[good],
        )

    @property
    def factor(self) -> float | None:
        """By which depth of all views becomes that of the points; None where nothing compares."""
        return float(self.log.median().exp()) if len(self.log) else None

    def where(self, chosen: Bool[Tensor, " n"]) -> "Ratios":
        """Some of them."""
        return replace(
            self,
            log=self.log[chosen],
            xy=self.xy[chosen],
            view=self.view[chosen],
            point=self.point[chosen],
        )


def fit_depth(made: Reconstruction, ratios: Ratios) -> tuple[Reconstruction, str]:
    """Depth of each view brought to the points that it sees, and what was done, for people."""
    height, width = made.depth.shape[1:]
    down, across = (
        (torch.arange(n, dtype=torch.float64, device="cpu") + 0.5) / n * 2 - 1
        for n in (height, width)
    )
    depth, fitted, left = made.depth.copy(), 0, torch.zeros_like(ratios.log)
    middle = ratios.factor or 1.0
    for view in range(len(made)):
        own = ratios.view == view
        seen = ratios.where(own)
        fitted += len(seen.log) >= FEW
        plane = _plane(seen, middle)
        values = plane[0] + plane[1] * across + plane[2] * down[:, None]
        there = _at(plane, seen.xy)
        left[own] = seen.log - there
        if len(there):  # no further than what was seen
            values = values.clamp(there.min(), there.max())
        depth[view] *= values.exp().numpy()
    told = f"fitted to points in {fitted} of {len(made)} views"
    if len(left):
        before, after = (100 * float(r.abs().median()) for r in (ratios.log, left))
        told += f"; median difference {before:.2g} to {after:.2g} %"
    return replace(made, depth=depth), told


def places(made: Reconstruction, tracks: Tracks) -> Float64[Tensor, "o 2"]:
    """Where in what the network saw each observation lies: from -1 to 1 inside it."""
    rows = [(m.scale_x, m.scale_y, m.shift_x, m.shift_y) for m in made.maps]
    maps = tracks.xy.new_tensor(rows)[tracks.view]
    size = tracks.xy.new_tensor(made.depth.shape[:0:-1])
    return (tracks.xy * maps[:, :2] + maps[:, 2:]) / size * 2 - 1


def _sampled(
    maps: Shaped[Tensor, "v y x"], xy: Float64[Tensor, "o 2"], view: Int64[Tensor, " o"]
) -> Float64[Tensor, " o"]:
    """Values of each observation's view between its pixels."""
    found = xy.new_zeros(len(xy))
    for number, values in enumerate(maps):
        own = view == number
        grid = rearrange(xy[own], "o c -> 1 1 o c")
        sampled = F.grid_sample(
            values[None, None].double(), grid, padding_mode="border", align_corners=False
        )
        found[own] = sampled.flatten()
    return found


def _plane(seen: Ratios, middle: float) -> Float64[Tensor, "3"]:
    """The logarithm of a view's factor in its middle, and how it grows across and down."""
    level = seen.log.new_zeros(3)
    if len(seen.log) < FEW:
        level[0] = math.log(middle)
        return level
    if len(seen.log) < MANY:
        return _level(seen)
    halves = [seen.point % 2 == 0, seen.point % 2 == 1]
    missed = seen.log.new_zeros(2)
    for one, other in (halves, halves[::-1]):
        if int(one.sum()) < FEW:
            return _level(seen)
        test = seen.where(other)
        for number, fit in enumerate((_level, _tilted)):
            missed[number] += (test.log - _at(fit(seen.where(one)), test.xy)).abs().sum()
    return _tilted(seen) if missed[1] < missed[0] else _level(seen)


def _level(seen: Ratios) -> Float64[Tensor, "3"]:
    level = seen.log.new_zeros(3)
    level[0] = seen.log.median()
    return level


def _tilted(seen: Ratios) -> Float64[Tensor, "3"]:
    """Cauchy's loss by least squares with weights that are computed anew in each round."""
    start = _level(seen)
    sides = torch.cat([torch.ones_like(seen.xy[:, :1]), seen.xy], dim=1)
    doubt = torch.diag(seen.log.new_tensor([0.0, DOUBT, DOUBT]))
    plane, target = seen.log.new_zeros(3), seen.log - start[0]
    for _ in range(ROUNDS):
        off = target - sides @ plane
        typical = off.abs().median().clamp_min(1e-9)
        weighted = sides / (1 + (off / (WIDE * typical)) ** 2)[:, None]
        plane = torch.linalg.solve(weighted.T @ sides + doubt, weighted.T @ target)
    return start + plane


def _at(plane: Float64[Tensor, "3"], xy: Float64[Tensor, "n 2"]) -> Float64[Tensor, " n"]:
    return plane[0] + xy @ plane[1:]
