"""Render several worlds at once: images, exact z-depth, cameras."""

from dataclasses import dataclass, fields

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from recon_eval.checks import without_autocast
from recon_eval.synthetic.raycast.photograph import photograph
from recon_eval.synthetic.raycast.shade import look
from recon_eval.synthetic.raycast.stage import Stage, make_stage
from recon_eval.synthetic.raycast.tiles import Rays, from_tiles, to_tiles
from recon_eval.synthetic.worlds.world import Cameras, Lens, World


@dataclass(frozen=True, kw_only=True)
class Views:
    """Rendered views of several worlds, on the device that rendered them.

    Images are in [0, 1], depth is z-depth in meters and 0 where `valid` is false: there is sky.
    """

    images: Float[Tensor, "b v 3 y x"]
    depth: Float[Tensor, "b v y x"]
    valid: Bool[Tensor, "b v y x"]
    world_to_camera: Float[Tensor, "b v 3 4"]
    intrinsics: Float[Tensor, "b v 3 3"]


@torch.no_grad()
@without_autocast
def render_worlds(
    worlds: list[World],
    chosen: list[list[int]],
    *,
    height: int,
    width: int,
    device: str | torch.device = "cpu",
) -> Views:
    """Render the `chosen` cameras of each world, equally many of all, at one size.

    A direction has z = 1 in its camera, so that the ray parameter is the z-depth itself.
    """
    where = torch.device(device)
    stage = make_stage(worlds, where)
    cameras, lens = _cameras(worlds, chosen, where), _lens(worlds, chosen, where)
    intrinsics = intrinsics_of(cameras, height, width)
    count = len(chosen[0])
    scene = torch.arange(len(worlds), device=where).repeat_interleave(count)
    color, depth = _trace(stage, cameras.camera_to_world, intrinsics, scene, height, width)
    images = photograph(color, lens)
    valid = depth.isfinite()
    rotation = cameras.camera_to_world[..., :3].mT
    inverse = torch.cat([rotation, -rotation @ cameras.camera_to_world[..., 3:]], dim=-1)

    def by_world(t: Tensor) -> Tensor:
        return rearrange(t, "(b v) ... -> b v ...", v=count)

    return Views(
        images=by_world(images),
        depth=by_world(torch.where(valid, depth, 0)),
        valid=by_world(valid),
        world_to_camera=by_world(inverse),
        intrinsics=by_world(intrinsics),
    )


def intrinsics_of(cameras: Cameras, height: int, width: int) -> Float[Tensor, "v 3 3"]:
    """Square pixels; the principal point is in the middle, but for a crop's shift."""
    matrix = cameras.focal.new_zeros(len(cameras.focal), 3, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = cameras.focal * max(height, width) / 2
    matrix[:, 0, 2] = width * (0.5 + cameras.shift[:, 0])
    matrix[:, 1, 2] = height * (0.5 + cameras.shift[:, 1])
    matrix[:, 2, 2] = 1
    return matrix


def _trace(
    stage: Stage,
    camera_to_world: Tensor,
    intrinsics: Tensor,
    scene: Tensor,
    height: int,
    width: int,
) -> tuple[Float[Tensor, "v 3 y x"], Float[Tensor, "v y x"]]:
    """Colors and depth of every pixel, some tiles at a time."""
    like = intrinsics
    y, x = (
        torch.arange(side, dtype=like.dtype, device=like.device) + 0.5 for side in (height, width)
    )
    pixels = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1)
    pixels = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    to_world = camera_to_world[:, :, :3] @ torch.linalg.inv(intrinsics)
    direction = to_tiles(torch.einsum("vij,yxj->vyxi", to_world, pixels).contiguous())
    each = len(direction) // len(scene)
    rays = Rays(
        origin=camera_to_world[:, :, 3].repeat_interleave(each, dim=0),
        direction=direction,
        scene=scene.repeat_interleave(each),
        pixel=(1 / intrinsics[:, 0, 0]).repeat_interleave(each),
    )
    chunk = 512 if scene.device.type == "cpu" else 1 << 14
    seen = [look(part, stage) for part in rays.split(chunk)]
    color = from_tiles(torch.cat([c for c, _ in seen]), len(scene), height, width)
    depth = from_tiles(torch.cat([d for _, d in seen])[..., None], len(scene), height, width)
    return rearrange(color, "v y x c -> v c y x").contiguous(), depth[..., 0].contiguous()


def _cameras(worlds: list[World], chosen: list[list[int]], device: torch.device) -> Cameras:
    return Cameras(**{
        field.name: torch.cat(
            [getattr(w.cameras, field.name)[index] for w, index in zip(worlds, chosen, strict=True)]
        ).to(device)
        for field in fields(Cameras)
    })  # fmt: skip


def _lens(worlds: list[World], chosen: list[list[int]], device: torch.device) -> Lens:
    return Lens(**{
        field.name: torch.cat(
            [getattr(w.lens, field.name)[index] for w, index in zip(worlds, chosen, strict=True)]
        ).to(device)
        for field in fields(Lens)
    })  # fmt: skip
