"""The nearest solid along every ray, and whether anything stands between a point and its light."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon_eval.synthetic.raycast import convex, fields
from recon_eval.synthetic.raycast.stage import Stage
from recon_eval.synthetic.raycast.tiles import Pairs, Rays, between, seen_by
from recon_eval.synthetic.worlds import world as w

NEAR = 1e-3
CONVEX = (w.BOX, w.BALL, w.CONE, w.GABLE)
FIELDS = (w.BLOB, w.TORUS, w.PILLOW, w.TWIST)


def first_hit(rays: Rays, stage: Stage) -> tuple[Float[Tensor, "t r"], Int[Tensor, "t r"]]:
    """The parameter of each ray's nearest solid (infinity if none) and the solid's number (-1)."""
    tiles, width, _ = rays.direction.shape
    nearest = rays.direction.new_full((tiles * width,), torch.inf)
    solid = torch.full((tiles * width,), -1, device=nearest.device)
    pairs = seen_by(rays, stage)
    for number, ray, at in _hits(stage, pairs, rays.origin[:, None], rays.direction):
        nearest.scatter_reduce_(0, ray, at, "amin")
        wins = at <= nearest[ray]
        # A nearer solid takes the ray over from whatever had it: only ties go by the number.
        solid[ray[wins]] = number[wins]
    return nearest.view(tiles, width), solid.view(tiles, width)


def is_shaded(
    points: Float[Tensor, "t r 3"], light: Float[Tensor, "t 3"], scene: Tensor, stage: Stage
) -> Bool[Tensor, "t r"]:
    """Whether a solid stands between each point and its tile's light."""
    tiles, width, _ = points.shape
    way = light[:, None] - points
    length = way.norm(dim=-1, keepdim=True)
    blocked = torch.zeros(tiles * width, dtype=torch.bool, device=points.device)
    pairs = between(points, light, scene, stage)
    for _, ray, at in _hits(stage, pairs, points, way / length):
        blocked[ray[at < length.flatten()[ray] - NEAR]] = True
    return blocked.view(tiles, width)


def _hits(
    stage: Stage, pairs: Pairs, origin: Tensor, direction: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For all pairs of a kind at a time: solid, ray and parameter of every hit beyond NEAR."""
    chunk = 256 if direction.device.type == "cpu" else 1 << 16
    kind = stage.solids.kind[pairs.solid]
    for number in (*CONVEX, *FIELDS):
        chosen = (kind == number).nonzero()[:, 0]
        for part in chosen.split(chunk):
            if len(part):
                yield _meet(stage, number, pairs.tile[part], pairs.solid[part], origin, direction)


def _meet(
    stage: Stage, kind: int, tile: Tensor, solid: Tensor, origin: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    solids = stage.solids
    to_local = solids.rotation[solid] / solids.size[solid][:, None]  # applied from the right
    local = (origin[tile] - solids.center[solid][:, None]) @ to_local
    ahead = direction[tile] @ to_local
    shape = solids.shape[solid]
    if kind in CONVEX:
        enter, leave = convex.span(kind, local, ahead, shape)
        pair, place = ((enter < leave) & (enter > NEAR)).nonzero(as_tuple=True)
        at = enter[pair, place]
    else:
        enter, leave = convex.ball(local, ahead, fields.BOUND)
        pair, place = ((enter < leave) & (leave > NEAR)).nonzero(as_tuple=True)
        own = local.expand_as(ahead)[pair, place]
        start = torch.full_like(own[:, 0], NEAR)
        at = fields.walk(kind, own, ahead[pair, place], shape[pair], start)
        kept = at.isfinite().nonzero()[:, 0]
        pair, place, at = pair[kept], place[kept], at[kept]
    return solid[pair], tile[pair] * direction.shape[1] + place, at


def surface(
    stage: Stage, solid: Int[Tensor, " p"], points: Float[Tensor, "p 3"]
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p 3"], Float[Tensor, "p 3"]]:
    """World normals, places (meters) and normals in the frames of the solids, at their surfaces."""
    solids = stage.solids
    rotation, size = solids.rotation[solid], solids.size[solid]
    places = torch.einsum("pji,pj->pi", rotation, points - solids.center[solid])
    unit, shape, kind = places / size, solids.shape[solid], solids.kind[solid]
    local = torch.zeros_like(points)
    for number in (*CONVEX, *FIELDS):
        at = (kind == number).nonzero()[:, 0]
        if len(at):
            make = convex.normals if number in CONVEX else fields.normals
            local[at] = make(number, unit[at], shape[at])
    local = local / size
    local = local / local.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return torch.einsum("pij,pj->pi", rotation, local), places, local
