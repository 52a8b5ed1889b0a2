"""What the teacher should answer for a batch of scenes, in the frame of its first view.

Unit of length: the mean distance of all visible points of a scene to its first camera, so that
nothing has to be known about scale.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

PATCH = 14
IGNORE = -100
"""Marks a patch whose centre is not seen by the other view."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Depth, poses, rays, and which patches show the same place."""

    depth: Float[Tensor, "b v y x"]
    pose: Float[Tensor, "b v 9"]  # camera to first view: t, quaternion xyzw, fov_y, fov_x
    camera_to_world: Float[Tensor, "b v 3 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    matches: Int[Tensor, "b v p v"]  # patch of view i -> patch of view j, or IGNORE


def make_targets(
    depth: Float[Tensor, "b v y x"],
    world_to_camera: Float[Tensor, "b v 3 4"],
    intrinsics: Float[Tensor, "b v 3 3"],
) -> Targets:
    """Re-base the cameras on view 0, fix the unit of length, and find the matching patches."""
    camera_to_first = _relative(world_to_camera)
    points = _unproject(depth[:, :, 3::8, 3::8], intrinsics, camera_to_first, offset=3.5, stride=8)
    unit = points.norm(dim=-1).mean(dim=(1, 2), keepdim=True)[..., None]  # [b 1 1 1]
    scaled = torch.cat([camera_to_first[..., :3], camera_to_first[..., 3:] / unit], dim=-1)
    depth = depth / unit
    height, width = depth.shape[-2:]
    return Targets(
        depth=depth,
        pose=_encode(scaled, intrinsics, height, width),
        camera_to_world=scaled,
        intrinsics=intrinsics,
        matches=_matches(depth, scaled, intrinsics),
    )


def rays(targets: Targets, rows: int, columns: int) -> Float[Tensor, "b v rows columns 6"]:
    """Direction (z = 1 in its camera) and origin of the rays through a regular grid."""
    height, width = targets.depth.shape[-2:]
    pixels = _grid(rows, columns, width / columns, height / rows, 0.5, targets.depth)
    rotation = targets.camera_to_world[..., :3] @ torch.linalg.inv(targets.intrinsics)
    direction = torch.einsum("bvij,pj->bvpi", rotation, pixels)
    origin = targets.camera_to_world[:, :, None, :, 3].expand_as(direction)
    return torch.cat([direction, origin], dim=-1).unflatten(2, (rows, columns))


def _relative(world_to_camera: Tensor) -> Float[Tensor, "b v 3 4"]:
    """Camera to first view, from world to camera."""
    rotation, translation = world_to_camera[..., :3].mT, world_to_camera[..., 3:]
    centre = -rotation @ translation
    first = world_to_camera[:, :1]
    return torch.cat([first[..., :3] @ rotation, first[..., :3] @ centre + first[..., 3:]], dim=-1)


def _grid(
    rows: int, columns: int, step_x: float, step_y: float, offset: float, like: Tensor
) -> Float[Tensor, "p 3"]:
    y = (torch.arange(rows, device=like.device) + offset) * step_y
    x = (torch.arange(columns, device=like.device) + offset) * step_x
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.ones_like(x.flatten())], dim=-1)


def _unproject(
    depth: Tensor, intrinsics: Tensor, camera_to_first: Tensor, *, offset: float, stride: int
) -> Float[Tensor, "b v p 3"]:
    """Points of a strided depth map in the first view's frame."""
    rows, columns = depth.shape[-2:]
    pixels = _grid(rows, columns, float(stride), float(stride), offset / stride, depth)
    local = torch.einsum("bvij,pj->bvpi", torch.linalg.inv(intrinsics), pixels)
    local = local * depth.flatten(2)[..., None]
    moved = torch.einsum("bvij,bvpj->bvpi", camera_to_first[..., :3], local)
    return moved + camera_to_first[:, :, None, :, 3]


def _encode(
    camera_to_first: Tensor, intrinsics: Tensor, height: int, width: int
) -> Float[Tensor, "b v 9"]:
    fov_y = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    fov_x = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternion = _quaternion(camera_to_first[..., :3])
    return torch.cat(
        [camera_to_first[..., 3], quaternion, fov_y[..., None], fov_x[..., None]], dim=-1
    )


def _quaternion(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternion xyzw with w >= 0, from the eigenvector of the largest eigenvalue."""
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    vector = torch.stack(
        [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    symmetric = m + m.mT
    top = symmetric - trace[..., None, None] * torch.eye(3, device=m.device)
    upper = torch.cat([top, vector[..., None]], dim=-1)
    lower = torch.cat([vector, trace[..., None]], dim=-1)
    matrix = torch.cat([upper, lower[..., None, :]], dim=-2)
    quaternion = torch.linalg.eigh(matrix).eigenvectors[..., -1]
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def _matches(depth: Tensor, camera_to_first: Tensor, intrinsics: Tensor) -> Tensor:
    """Where the centre of each patch lands in every other view, if it is seen there (6 %)."""
    views, height, width = depth.shape[1:]
    rows, columns = height // PATCH, width // PATCH
    middle = depth[..., PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]
    points = _unproject(middle, intrinsics, camera_to_first, offset=PATCH / 2 + 0.5, stride=PATCH)
    rotation = camera_to_first[..., :3].mT
    origin = -(rotation @ camera_to_first[..., 3:])
    local = torch.einsum("bjkl,bipl->bipjk", rotation, points) + origin[:, None, None, :, :, 0]
    projected = torch.einsum("bjkl,bipjl->bipjk", intrinsics, local)
    z = projected[..., 2]
    x, y = (projected[..., :2] / z.clamp_min(1e-6)[..., None]).unbind(-1)
    inside = (z > 1e-3) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    column, row = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
    flat = depth.flatten(2)[:, None, None].expand(-1, views, rows * columns, -1, -1)
    seen = flat.gather(-1, (row * width + column)[..., None])[..., 0]
    visible = inside & ((seen - z).abs() < 0.06 * z)
    patch = (row // PATCH) * columns + column // PATCH
    own = torch.eye(views, dtype=torch.bool, device=depth.device)[None, :, None, :]
    return torch.where(visible & ~own, patch, IGNORE)
