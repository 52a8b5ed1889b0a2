"""Signed distances of shapes that have no formula for a ray, and walking along rays to them."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recon_eval.synthetic.raycast.convex import ball
from recon_eval.synthetic.worlds import world as w

BOUND = 3**0.5
"""All fields lie inside this ball, in units of their size."""
STEPS = 96
REACHED = 1e-3
"""Closer than this, in units of the size, is on the surface."""


def distance(
    kind: int, points: Float[Tensor, "p 3"], shape: Float[Tensor, "p 16"]
) -> Float[Tensor, " p"]:
    """A signed distance, or a lower bound of it, to a unit shape."""
    if kind == w.BLOB:
        return _blob(points, shape)
    first = shape[:, 0]
    if kind == w.TORUS:
        around = torch.hypot(points[:, 0], points[:, 2]) - (1 - first)
        return torch.hypot(around, points[:, 1]) - first
    if kind == w.PILLOW:
        return _box(points, 1 - first[:, None]) - first
    angle = first * points[:, 1]
    c, s = angle.cos(), angle.sin()
    x, y, z = points.unbind(-1)
    turned = torch.stack([c * x + s * z, y, c * z - s * x], dim=-1)
    return 0.6 * _box(
        turned, torch.full_like(turned, 0.85)
    )  # twisting stretches by less than 1/0.6


def _box(points: Tensor, half: Tensor) -> Tensor:
    outside = points.abs() - half
    return outside.clamp_min(0).norm(dim=-1) + outside.amax(-1).clamp_max(0)


def _blob(points: Tensor, shape: Tensor) -> Tensor:
    """Four balls, melted together where they come closer than 0.2."""
    balls = rearrange(shape, "p (n c) -> n p c", c=4)
    melted = (points - balls[0, :, :3]).norm(dim=-1) - balls[0, :, 3]
    for other in balls[1:]:
        gap = (points - other[:, :3]).norm(dim=-1) - other[:, 3]
        blend = (0.2 - (melted - gap).abs()).clamp_min(0)
        melted = torch.minimum(melted, gap) - blend.square() / 0.8
    return melted


def walk(
    kind: int,
    origin: Float[Tensor, "a 3"],
    direction: Float[Tensor, "a 3"],
    shape: Float[Tensor, "a 16"],
    start: Float[Tensor, " a"],
) -> Float[Tensor, " a"]:
    """Where each ray first meets the shape after `start`; infinity where it does not."""
    enter, leave = ball(origin, direction, BOUND)
    at = torch.maximum(enter, start)
    speed = direction.norm(dim=-1)
    met = torch.zeros_like(at, dtype=torch.bool)
    active = (at < leave).nonzero()[:, 0]
    for _ in range(STEPS // 8):  # those that have arrived or left take no further steps
        own = (origin[active], direction[active], shape[active], speed[active])
        here = at[active]
        for _ in range(8):
            gap = distance(kind, torch.addcmul(own[0], here[:, None], own[1]), own[2])
            here = here + gap / own[3]
        at[active] = here
        arrived, gone = gap < REACHED, here > leave[active]
        met[active] = arrived & ~gone
        active = active[~arrived & ~gone]
    return torch.where(met, at, torch.inf)


def normals(
    kind: int, points: Float[Tensor, "p 3"], shape: Float[Tensor, "p 16"]
) -> Float[Tensor, "p 3"]:
    """Outward normals by differences along the four corners of a tetrahedron."""
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    total = torch.zeros_like(points)
    for corner in corners:
        total += corner * distance(kind, points + 2e-3 * corner, shape)[:, None]
    return total
