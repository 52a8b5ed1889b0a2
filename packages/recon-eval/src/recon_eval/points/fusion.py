"""From depth maps to one cloud.

`back_project` keeps every masked pixel. The others keep a pixel when enough views see the same
surface there, and average what they see. `fuse_consistent` asks for agreement in pixels and in
relative depth: the filter of MVSNet (Yao et al., ECCV 2018, section 4.2). `fuse_close` asks for
points closer than a distance, as Depth Anything 3's benchmark does on DTU (0.2 mm, 4 views).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon_eval.align import camera_centers
from recon_eval.checks import Axes, rig_of, without_autocast


@dataclass(frozen=True, kw_only=True)
class FusedCloud:
    """Points in the world frame, and the view, row and column each came from."""

    points: Float[Tensor, "p 3"]
    pixels: Int[Tensor, "p 3"]

    def draw(self, count: int, *, seed: int) -> "FusedCloud":
        """Return at most `count` of the points, in order, drawn by `seed`."""
        if len(self.points) <= count:
            return self
        generator = torch.Generator().manual_seed(seed)
        kept = (
            torch.randperm(len(self.points), generator=generator, device="cpu")[:count]
            .sort()
            .values
        )
        kept = kept.to(self.points.device)
        return FusedCloud(points=self.points[kept], pixels=self.pixels[kept])

    def colors(self, images: Float[Tensor, "v 3 y x"]) -> Float[Tensor, "p 3"]:
        """Return the color of each point in its own view."""
        view, row, column = self.pixels.T
        return images[view, :, row, column]


@without_autocast
def back_project(
    depth: Float[Tensor, "v y x"],
    valid: Bool[Tensor, "v y x"],
    world_to_camera: Float[Tensor, "v _ 4"],
    intrinsics: Float[Tensor, "v 3 3"],
) -> FusedCloud:
    """Return the world point of every valid pixel, views in order (pixel centers at + 0.5)."""
    views = _views(depth, valid, world_to_camera, intrinsics)
    points = torch.stack([view.lift(_centers(view.depth), view.depth) for view in views])
    return FusedCloud(points=points[valid], pixels=valid.nonzero())


def fuse_consistent(
    depth: Float[Tensor, "v y x"],
    valid: Bool[Tensor, "v y x"],
    world_to_camera: Float[Tensor, "v _ 4"],
    intrinsics: Float[Tensor, "v 3 3"],
    *,
    min_views: int = 3,
    max_pixels: float = 1.0,
    max_relative_depth: float = 0.01,
) -> FusedCloud:
    """Return pixels that at least `min_views` views agree on, their own included.

    Another view agrees when its depth, read where the pixel's point lands in it, lifted and brought
    back, comes out within `max_pixels` of the pixel and within `max_relative_depth` of its depth.
    The point returned is the mean of the points of the views that agree.
    """
    if not max_pixels > 0 or not max_relative_depth > 0:
        raise ValueError(
            f"max_pixels={max_pixels}, max_relative_depth={max_relative_depth}; both must "
            "be above 0: leave them out for the usual ones"
        )
    agrees = partial(_projects_back, max_pixels=max_pixels, max_relative_depth=max_relative_depth)
    return _fuse(depth, valid, world_to_camera, intrinsics, min_views, agrees)


def fuse_close(
    depth: Float[Tensor, "v y x"],
    valid: Bool[Tensor, "v y x"],
    world_to_camera: Float[Tensor, "v _ 4"],
    intrinsics: Float[Tensor, "v 3 3"],
    *,
    max_distance: float,
    min_views: int = 4,
) -> FusedCloud:
    """Return pixels that at least `min_views` views agree on, their own included.

    Another view agrees when the point that its depth gives where the pixel's point lands in it is
    closer to that than `max_distance`, in the unit of depth. The point returned is their mean.
    """
    if not max_distance > 0:
        raise ValueError(
            f"max_distance={max_distance}; it must be above 0: give a length in the unit of "
            "the depths"
        )
    agrees = partial(_is_close, max_distance=max_distance)
    return _fuse(depth, valid, world_to_camera, intrinsics, min_views, agrees)


@without_autocast
def _fuse(
    depth: Tensor,
    valid: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    min_views: int,
    agrees: Callable[["_View", Tensor, Tensor], Tensor],
) -> FusedCloud:
    views = _views(depth, valid, world_to_camera, intrinsics)
    if not 1 <= min_views <= len(depth):
        raise ValueError(
            f"min_views={min_views}; it must be in 1..{len(depth)} (the views): fewer keep "
            "more points"
        )
    points, pixels = [], []
    for i, view in enumerate(views):
        own = view.lift(_centers(view.depth), view.depth)
        total, count = own.clone(), torch.ones_like(view.depth)
        for other in views[:i] + views[i + 1 :]:
            seen, known = _look(other, own)
            same = view.valid & known & agrees(view, own, seen)
            total += torch.where(same[..., None], seen, torch.zeros_like(seen))
            count += same
        kept = view.valid & (count >= min_views)
        points.append(total[kept] / count[kept][:, None])
        rows = kept.nonzero()
        pixels.append(torch.cat([torch.full_like(rows[:, :1], i), rows], dim=1))
    return FusedCloud(points=torch.cat(points), pixels=torch.cat(pixels))


@dataclass(frozen=True)
class _View:
    depth: Tensor
    valid: Tensor
    camera: Tensor
    intrinsics: Tensor
    center: Tensor

    def lift(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """World points at `depth` behind positions in the image."""
        rays = torch.nn.functional.pad(pixels, (0, 1), value=1.0)
        local = rays @ torch.linalg.inv(self.intrinsics.to(depth)).T * depth[..., None]
        return local @ self.camera[:, :3].to(depth) + self.center.to(depth)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Position in the image and depth of world points."""
        local = (points - self.center.to(points)) @ self.camera[:, :3].to(points).T
        pixels = local @ self.intrinsics.to(points).T
        return pixels[..., :2] / pixels[..., 2:], local[..., 2]


def _look(other: _View, points: Tensor) -> tuple[Tensor, Tensor]:
    """What a view sees where points land in it, and where it sees anything there."""
    height, width = other.depth.shape
    landed, ahead = other.project(points)
    inside = (ahead > 0) & ((landed >= 0) & (landed < landed.new_tensor([width, height]))).all(-1)
    landed = landed.where(inside[..., None], 0)
    column, row = landed.long().unbind(-1)
    return other.lift(landed, other.depth[row, column]), inside & other.valid[row, column]


def _projects_back(
    view: _View, own: Tensor, seen: Tensor, *, max_pixels: float, max_relative_depth: float
) -> Tensor:
    back, back_depth = view.project(seen)
    distance = (back - _centers(view.depth)).norm(dim=-1)
    relative = (back_depth - view.depth).abs() / view.depth
    return (distance < max_pixels) & (relative < max_relative_depth)


def _is_close(view: _View, own: Tensor, seen: Tensor, *, max_distance: float) -> Tensor:
    return (seen - own).norm(dim=-1) < max_distance


def _centers(depth: Tensor) -> Tensor:
    height, width = depth.shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=depth.dtype, device=depth.device) + 0.5,
        torch.arange(width, dtype=depth.dtype, device=depth.device) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1)


def _views(
    depth: Tensor, valid: Tensor, world_to_camera: Tensor, intrinsics: Tensor
) -> list[_View]:
    """Checked; depth of 16 bits as float32, since these hold no places of pixels.

    With cameras of float64 as float64, which may stand too far from the origin for less.
    """
    cameras, axes = rig_of(world_to_camera, "world_to_camera"), Axes()
    axes.check(depth, "depth", "v y x")
    axes.check(valid, "valid", "v y x", boolean=True)
    axes.check(cameras, "world_to_camera", "v 3 4")
    axes.check(intrinsics, "intrinsics", "v 3 3")
    wrong = valid & ~(torch.isfinite(depth) & (depth > 0))
    if bool(wrong.any()):
        raise ValueError(
            f"depth: {int(wrong.sum())} valid pixels are not finite and positive; all must be: "
            "mask them"
        )
    if not bool(valid.any()):
        raise ValueError("valid: no pixel is valid; the cloud would be empty: keep some")
    kind = torch.promote_types(depth.dtype, torch.float32)
    wide = depth.to(torch.promote_types(kind, cameras.dtype))
    parts = (wide, valid, cameras, intrinsics, camera_centers(cameras))
    return [_View(*view) for view in zip(*parts, strict=True)]
