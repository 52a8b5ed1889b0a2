"""Where rays meet convex solids. Rays are `origin + t * direction`; t is measured in directions."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon_eval.synthetic.rooms.world import BOX, ELLIPSOID, Solids

NEAR = 1e-3
"""Hits closer than this are the surface that the ray starts on."""


def first_hit(
    solids: Solids, origin: Float[Tensor, "3 a 1"], direction: Float[Tensor, "3 a r"]
) -> tuple[Float[Tensor, "a r"], Int[Tensor, "a r"]]:
    """Return the distance to the nearest surface and the index of its solid.

    Every ray starts inside the first solid, the room, so that every ray hits something.
    """
    _, nearest = _interval(solids, 0, origin, direction)
    index = torch.zeros_like(nearest, dtype=torch.long)
    for solid in range(1, len(solids.kind)):
        enter, leave = _interval(solids, solid, origin, direction)
        hit = (enter < leave) & (enter > NEAR) & (enter < nearest)
        nearest = torch.where(hit, enter, nearest)
        index = index.masked_fill_(hit, solid)
    return nearest, index


def is_blocked(
    solids: Solids, origin: Float[Tensor, "3 a 1"], direction: Float[Tensor, "3 a r"]
) -> Tensor:
    """Return whether a solid other than the room lies between t = 0 and t = 1: `a r` booleans."""
    blocked = torch.zeros(direction.shape[1:], dtype=torch.bool, device=direction.device)
    for solid in range(1, len(solids.kind)):
        enter, leave = _interval(solids, solid, origin, direction)
        blocked |= (enter < leave) & (enter < 1 - NEAR) & (leave > NEAR)
    return blocked


def room_face(solids: Solids, points: Float[Tensor, "3 p"]) -> Int[Tensor, " p"]:
    """Return which wall of the room each point lies on: 0 to 5 for -x, x, -y, y, -z, z."""
    local = points / solids.size[0][:, None]
    axis = local.abs().argmax(0)
    return 2 * axis + (local.gather(0, axis[None])[0] > 0)


def normals(kind: int, local: Float[Tensor, "3 p"]) -> Float[Tensor, "3 p"]:
    """Return outward normals, of any length, at points of a unit shape."""
    if kind == ELLIPSOID:
        return local
    if kind == BOX:
        return torch.where(local.abs() == local.abs().amax(0), local.sign(), 0)
    x, y, z = local
    cap = y * y > x * x + z * z
    return torch.where(cap, torch.stack([0 * x, y, 0 * z]), torch.stack([x, 0 * y, z]))


def _interval(
    solids: Solids, solid: int, origin: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """Return t where each ray enters and leaves one solid; enter > leave where it misses."""
    to_local = solids.rotation[solid].T / solids.size[solid][:, None]
    o = torch.einsum("ij,jar->iar", to_local, origin - solids.center[solid][:, None, None])
    d = (to_local @ direction.flatten(1)).view(direction.shape)
    kind = int(solids.kind[solid])
    if kind == ELLIPSOID:
        return _ball(o, d)
    if kind == BOX:
        enter, leave = _slabs(o, d)
        return enter.amax(0), leave.amin(0)
    enter, leave = _ball(o[::2], d[::2])
    low, high = _slabs(o[1:2], d[1:2])
    return torch.maximum(enter, low[0]), torch.minimum(leave, high[0])


def _slabs(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Enter and leave -1 <= p <= 1, each axis alone."""
    inverse = 1 / (d + 1e-12)  # a ray along a slab stays finite
    middle, half = -o * inverse, inverse.abs()
    return middle - half, middle + half


def _ball(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Enter and leave |p| <= 1 over the axes given; an infinite `enter` where the ray misses."""
    a = (d * d).sum(0).clamp_min(1e-12)
    b = (o * d).sum(0)
    under = b * b - a * ((o * o).sum(0) - 1)
    root = under.clamp_min(0).sqrt()
    enter = torch.where(under > 0, (-b - root) / a, torch.inf)
    return enter, (-b + root) / a
