"""What a network should answer for a batch of scenes, in the frame of its first view.

Unit of length: the mean distance of all visible points of a scene to its first camera, so that
nothing has to be known about scale.
"""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon_backbones.geometry.cameras import encode_pose, invert_rigid

PATCH = 14  # pixels
SAME = 0.06
"""A view sees a place where its own depth there is that of the place within this share."""
IGNORE = -100
"""Marks a patch whose center is not seen by the other view."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Depth (1 where it is not valid), poses, rays, and which patches show the same place."""

    depth: Float[Tensor, "b v y x"]
    valid: Bool[Tensor, "b v y x"]
    pose: Float[Tensor, "b v 9"]  # camera to first view: t, quaternion xyzw, fov_y, fov_x
    camera_to_world: Float[Tensor, "b v 3 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    matches: Int[Tensor, "b v p v"]  # patch of view i -> patch of view j, or IGNORE


def make_targets(
    depth: Float[Tensor, "b v y x"],
    world_to_camera: Float[Tensor, "b v 3 4"],
    intrinsics: Float[Tensor, "b v 3 3"],
    valid: Bool[Tensor, "b v y x"],
) -> Targets:
    """Re-base the cameras on view 0, fix the unit of length, and find the matching patches."""
    camera_to_first = _relative(world_to_camera)
    depth = torch.where(valid, depth, 1.0)  # sky may be infinite or no number
    points = _unproject(depth[:, :, 3::8, 3::8], intrinsics, camera_to_first, offset=3.5, stride=8)
    seen = rearrange(valid[:, :, 3::8, 3::8], "b v y x -> b v (y x)")
    total = (points.norm(dim=-1) * seen).sum((1, 2)) / seen.sum((1, 2)).clamp_min(1)
    unit = rearrange(torch.where(total > 0, total, 1.0), "b -> b 1 1 1")
    scaled = torch.cat([camera_to_first[..., :3], camera_to_first[..., 3:] / unit], dim=-1)
    depth = torch.where(valid, depth / unit, 1.0)
    return Targets(
        depth=depth,
        valid=valid,
        pose=encode_pose(scaled, intrinsics, (depth.shape[-2], depth.shape[-1])),
        camera_to_world=scaled,
        intrinsics=intrinsics,
        matches=_matches(depth, valid, scaled, intrinsics),
    )


def rays(targets: Targets, rows: int, columns: int) -> Float[Tensor, "b v rows columns 6"]:
    """Direction (z = 1 in its camera) and origin of the rays through a regular grid."""
    height, width = targets.depth.shape[-2:]
    pixels = _grid(rows, columns, width / columns, height / rows, 0.5, targets.depth)
    rotation = targets.camera_to_world[..., :3] @ torch.linalg.inv(targets.intrinsics)
    direction = einsum(rotation, pixels, "b v i j, p j -> b v p i")
    origin = targets.camera_to_world[:, :, None, :, 3].expand_as(direction)
    both = torch.cat([direction, origin], dim=-1)
    return rearrange(both, "b v (r c) e -> b v r c e", r=rows)


def world_points(targets: Targets) -> Float[Tensor, "b v y x 3"]:
    """The point that each pixel sees, in the frame of the first view."""
    flat = _unproject(
        targets.depth, targets.intrinsics, targets.camera_to_world, offset=0.5, stride=1
    )
    return rearrange(flat, "b v (y x) e -> b v y x e", x=targets.depth.shape[-1])


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Where points are in each view, and whether it shows them.

    - `at`: x and y in pixels, from the outer edge of the first one.
    - `inside`: whether that is in front of the camera and in the picture.
    - `seen`: whether, besides, nothing stands before them.
    """

    at: Float[Tensor, "b v p 2"]
    inside: Bool[Tensor, "b v p"]
    seen: Bool[Tensor, "b v p"]


def sight(
    points: Float[Tensor, "b p 3"],
    depth: Float[Tensor, "b v y x"],
    valid: Bool[Tensor, "b v y x"],
    camera_to_first: Float[Tensor, "b v 3 4"],
    intrinsics: Float[Tensor, "b v 3 3"],
) -> Sight:
    """How every view sees points in the frame of the first."""
    height, width = depth.shape[-2:]
    camera = invert_rigid(camera_to_first)
    local = einsum(camera[..., :3], points, "b j k l, b p l -> b j p k")
    local = local + camera[:, :, None, :, 3]
    projected = einsum(intrinsics, local, "b j k l, b j p l -> b j p k")
    z = projected[..., 2]
    at = projected[..., :2] / z.clamp_min(1e-6)[..., None]
    x, y = at.unbind(-1)
    inside = (z > 1e-3) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    column, row = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
    flat = rearrange(torch.where(valid, depth, -1.0), "b j y x -> b j (y x)")
    there = flat.gather(-1, row * width + column)
    return Sight(at=at, inside=inside, seen=inside & ((there - z).abs() < SAME * z))


def _relative(world_to_camera: Tensor) -> Float[Tensor, "b v 3 4"]:
    """Camera to first view, from world to camera."""
    camera_to_world = invert_rigid(world_to_camera)
    first = world_to_camera[:, :1]
    moved = first[..., :3] @ camera_to_world
    return torch.cat([moved[..., :3], moved[..., 3:] + first[..., 3:]], dim=-1)


def _grid(
    rows: int, columns: int, step_x: float, step_y: float, offset: float, like: Tensor
) -> Float[Tensor, "p 3"]:
    y = (torch.arange(rows, dtype=like.dtype, device=like.device) + offset) * step_y
    x = (torch.arange(columns, dtype=like.dtype, device=like.device) + offset) * step_x
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.ones_like(x.flatten())], dim=-1)


def _unproject(
    depth: Tensor, intrinsics: Tensor, camera_to_first: Tensor, *, offset: float, stride: int
) -> Float[Tensor, "b v p 3"]:
    """Points of a strided depth map in the first view's frame."""
    rows, columns = depth.shape[-2:]
    pixels = _grid(rows, columns, float(stride), float(stride), offset / stride, depth)
    local = einsum(torch.linalg.inv(intrinsics), pixels, "b v i j, p j -> b v p i")
    local = local * rearrange(depth, "b v y x -> b v (y x) 1")
    moved = einsum(camera_to_first[..., :3], local, "b v i j, b v p j -> b v p i")
    return moved + camera_to_first[:, :, None, :, 3]


def _matches(depth: Tensor, valid: Tensor, camera_to_first: Tensor, intrinsics: Tensor) -> Tensor:
    """Where the center of each patch lands in every other view, if it is seen there."""
    views = depth.shape[1]
    middle = slice(PATCH // 2, None, PATCH)
    points = _unproject(
        depth[..., middle, middle],
        intrinsics,
        camera_to_first,
        offset=PATCH / 2 + 0.5,
        stride=PATCH,
    )
    found = sight(
        rearrange(points, "b i p e -> b (i p) e"), depth, valid, camera_to_first, intrinsics
    )
    seen, at = (
        rearrange(t, "b j (i p) ... -> b i p j ...", i=views) for t in (found.seen, found.at)
    )
    own_valid = rearrange(valid[..., middle, middle], "b i y x -> b i (y x) 1")
    visible = seen & own_valid
    column, row = (at / PATCH).long().unbind(-1)
    patch = row * (depth.shape[-1] // PATCH) + column
    own = torch.eye(views, dtype=torch.bool, device=depth.device)[None, :, None, :]
    return torch.where(visible & ~own, patch, IGNORE)
