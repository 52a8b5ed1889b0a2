"""A painted room, seen from inside: images, exact depth and cameras."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Room:
    """Views of the room, in meters."""

    images: Float[Tensor, "v 3 y x"]
    depth: Float[Tensor, "v y x"]
    world_to_camera: Float[Tensor, "v 3 4"]
    intrinsics: Float[Tensor, "v 3 3"]


def room(views: int, height: int, width: int, *, seed: int = 0, finest: float = 3.5) -> Room:
    """Cameras on an arc inside a box of 6 x 3 x 5 meters, all looking at its far wall.

    - `finest`: the shortest waves on its walls have 2^finest radians in a meter.
    """
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linspace(-0.45, 0.45, views).double()
    jitter = 0.1 * torch.rand(views, 3, generator=generator, dtype=torch.float64)
    centers = torch.stack((2 * turn.sin(), 0 * turn, -1.2 + 0 * turn), dim=1) + jitter
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    rows = (turn.cos(), zero, turn.sin(), zero, one, zero, -turn.sin(), zero, turn.cos())
    rotation = torch.stack(rows, dim=1).reshape(views, 3, 3)  # world to camera
    cameras = torch.cat((rotation, -rotation @ centers[..., None]), dim=2)
    lens = torch.tensor([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    rays = torch.stack((x, y, torch.ones_like(x)), dim=-1).double() @ lens.double().inverse().T
    seen = torch.einsum("yxc,vcd->vyxd", rays, rotation)  # z of a ray in its camera is 1
    half = torch.tensor([3.0, 1.5, 2.5]).double()
    origin = centers[:, None, None]
    away = (half * seen.sign() - origin) / torch.where(seen == 0, 1e-9, seen)
    depth = away.min(dim=-1).values
    images = _paint(origin + seen * depth[..., None], generator, finest)
    return Room(
        images=images.float(),
        depth=depth.float(),
        world_to_camera=cameras.float(),
        intrinsics=lens.expand(views, 3, 3),
    )


def _paint(points: Tensor, generator: torch.Generator, finest: float) -> Tensor:
    """Waves of many lengths over the walls, so that every place looks like no other."""
    shape = (3, 24, 3)
    length = 2 ** torch.empty(24, dtype=torch.float64).uniform_(0, finest, generator=generator)
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    phase = 6.3 * torch.rand(3, 24, generator=generator, dtype=torch.float64)
    waves = torch.einsum("vyxd,ckd->vckyx", points, direction * length[:, None])
    sums = (waves + phase[..., None, None]).sin().sum(dim=2) / 24**0.5
    return (0.5 + 0.2 * sums).clamp(0, 1)
