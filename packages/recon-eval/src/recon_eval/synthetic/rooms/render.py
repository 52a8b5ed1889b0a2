"""Look at a world: ray casting with one point light, its shadows, and exact z-depth."""

from dataclasses import fields, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import without_autocast
from recon_eval.sets.scene import Scene
from recon_eval.synthetic.rooms.intersect import first_hit, is_blocked, normals, room_face
from recon_eval.synthetic.rooms.texture import albedo
from recon_eval.synthetic.rooms.world import NUM_WALLS, World


@without_autocast
def render_room(
    world: World, *, name: str, views: int, height: int, width: int, device: str = "cpu"
) -> Scene:
    """Render the first `views` cameras of a world at `height` by `width` pixels.

    A direction has z = 1 in its camera, so that the ray parameter is the z-depth itself.
    """
    world = _to(world, torch.device(device))
    intrinsics = _intrinsics(world.focal[:views], height, width)
    camera_to_world = world.camera_to_world[:views]
    direction = _directions(camera_to_world, intrinsics, height, width)
    origin = camera_to_world[:, :, 3].T[:, :, None]
    depth, index = first_hit(world.solids, origin, direction)
    points = rearrange(origin + depth * direction, "xyz v p -> xyz (v p)")
    color = _shade(world, points, index.flatten())
    color = rearrange(color, "c (v y x) -> v c y x", v=views, y=height)
    color = (color * rearrange(world.gain[:views], "v -> v 1 1 1")).clamp(0, 1)
    return Scene(
        name=name,
        images=color.contiguous().cpu(),
        depth=rearrange(depth, "v (y x) -> v y x", y=height).cpu(),
        valid=torch.ones(views, height, width, dtype=torch.bool, device="cpu"),
        world_to_camera=_invert(camera_to_world).cpu(),
        intrinsics=intrinsics.cpu(),
    )


def _shade(world: World, points: Float[Tensor, "3 p"], solid: Tensor) -> Float[Tensor, "3 p"]:
    """Lambert's law from one point light with hard shadows, plus an ambient term."""
    to_light = world.light[:, None] - points
    shadow = is_blocked(world.solids, world.light[:, None, None], -to_light[:, None])[0]
    material = torch.where(solid == 0, room_face(world.solids, points), solid + NUM_WALLS - 1)
    color, cosine = torch.empty_like(points), torch.empty_like(points[0])
    for number in range(NUM_WALLS + len(world.solids.kind) - 1):
        at = (material == number).nonzero()[:, 0]
        if len(at):
            color[:, at], cosine[at] = _surface(world, number, points[:, at], to_light[:, at])
    direct = world.light_power * cosine.masked_fill(shadow, 0)
    return color * (world.ambient + direct)


def _surface(
    world: World, material: int, points: Tensor, to_light: Tensor
) -> tuple[Float[Tensor, "3 p"], Float[Tensor, " p"]]:
    """Color, and cosine of the light's angle, at points that share one material."""
    solids = world.solids
    solid = max(0, material - NUM_WALLS + 1)
    rotation, size = solids.rotation[solid], solids.size[solid][:, None]
    local = rotation.T @ (points - solids.center[solid][:, None])
    normal = rotation @ (normals(int(solids.kind[solid]), local / size) / size)
    inwards = -1.0 if solid == 0 else 1.0
    lengths = (normal.square().sum(0) * to_light.square().sum(0)).clamp_min(1e-20).sqrt()
    cosine = inwards * (normal * to_light).sum(0) / lengths
    return albedo(world.materials, material, local), cosine.clamp_min(0)


def _intrinsics(focal: Tensor, height: int, width: int) -> Float[Tensor, "v 3 3"]:
    """Square pixels, principal point in the middle of the image."""
    matrix = focal.new_zeros(len(focal), 3, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = focal * height / 2
    matrix[:, 0, 2], matrix[:, 1, 2], matrix[:, 2, 2] = width / 2, height / 2, 1
    return matrix


def _directions(
    camera_to_world: Tensor, intrinsics: Tensor, height: int, width: int
) -> Float[Tensor, "3 v p"]:
    y, x = torch.meshgrid(
        torch.arange(height, dtype=intrinsics.dtype, device=intrinsics.device) + 0.5,
        torch.arange(width, dtype=intrinsics.dtype, device=intrinsics.device) + 0.5,
        indexing="ij",
    )
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    to_world = camera_to_world[:, :, :3] @ torch.linalg.inv(intrinsics)
    return torch.einsum("vij,jp->ivp", to_world, pixels).contiguous()


def _invert(camera_to_world: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3 4"]:
    rotation = camera_to_world[:, :, :3].mT
    return torch.cat([rotation, -rotation @ camera_to_world[:, :, 3:]], dim=2)


def _to(world: Any, device: torch.device) -> Any:
    """Move every tensor of a nested dataclass."""
    moved = {}
    for field in fields(world):
        value = getattr(world, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device)
        elif not isinstance(value, float):
            moved[field.name] = _to(value, device)
    return replace(world, **moved)
