"""What rays meet behind all solids: the walls of a room, a plane, hills, or nothing."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from recon_eval.synthetic.raycast.stage import Stage
from recon_eval.synthetic.raycast.tiles import Rays
from recon_eval.synthetic.worlds import world as w

FAR = 80.0
"""Ground further away than this many meters is lost in the haze, and counts as sky."""
STEPS = 96

Hit = tuple[Float[Tensor, "t r"], Int[Tensor, "t r"]]


def ground_hit(rays: Rays, stage: Stage) -> Hit:
    """The parameter of each ray's hit (infinity: sky) and the wall it is on (3 is the floor)."""
    at = torch.full_like(rays.direction[..., 0], torch.inf)
    wall = torch.full(at.shape, 3, device=at.device)
    kind = stage.ground.kind[rays.scene]
    for number, meet in ((w.ROOM, _room), (w.PLANE, _plane), (w.TERRAIN, _terrain)):
        tiles = (kind == number).nonzero()[:, 0]
        if len(tiles):
            scene = rays.scene[tiles]
            found = meet(stage, scene, rays.origin[tiles][:, None], rays.direction[tiles])
            at[tiles], wall[tiles] = found
    return torch.where(at < FAR, at, torch.inf), wall


def _room(stage: Stage, scene: Tensor, origin: Tensor, direction: Tensor) -> Hit:
    half = stage.ground.half[scene][:, None]
    middle = half * half.new_tensor([0.0, -1.0, 0.0])
    ahead = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    leave = (middle + half * ahead.sign() - origin) / ahead
    at, axis = leave.min(-1)
    forward = ahead.gather(-1, axis[..., None])[..., 0] > 0
    return at, 2 * axis + forward


def _plane(stage: Stage, scene: Tensor, origin: Tensor, direction: Tensor) -> Hit:
    down = direction[..., 1]
    at = torch.where(down > 1e-6, -origin[..., 1] / down.clamp_min(1e-6), torch.inf)
    return at, torch.full(at.shape, 3, device=at.device)


def _terrain(stage: Stage, scene: Tensor, origin: Tensor, direction: Tensor) -> Hit:
    """Walk by the gap below each point over the steepest descent: no hill is ever jumped."""
    at = torch.full_like(direction[..., 0], torch.inf)
    waves = stage.ground.waves[scene]
    steepest = (waves[..., 3].abs() * waves[..., :2].norm(dim=-1)).sum(-1)
    top = -waves[..., 3].abs().sum(-1)
    down = direction[..., 1] > 0
    tile, place = (down | (origin[..., 1] > top[:, None])).nonzero(as_tuple=True)
    at[tile, place] = _walk(
        waves[tile], steepest[tile], top[tile], origin[tile, 0], direction[tile, place]
    )
    return at, torch.full(at.shape, 3, device=at.device)


def _walk(
    waves: Tensor, steepest: Tensor, top: Tensor, origin: Tensor, direction: Tensor
) -> Float[Tensor, " p"]:
    """Where rays meet their hills; those that have arrived or left take no further steps."""
    down, flat = direction[:, 1], direction[:, [0, 2]].norm(dim=-1)
    closing = (down + flat * steepest).clamp_min(1e-4)  # meters of gap lost for each unit of t
    at = ((top - origin[:, 1]) / down.clamp_min(1e-6)).clamp_min(0)
    active = (at < FAR).nonzero()[:, 0]
    for _ in range(STEPS // 8):
        own = (waves[active], origin[active], direction[active], closing[active])
        here = at[active]
        for _ in range(8):
            gap = -below(own[0], own[1] + here[:, None] * own[2])
            here = here + gap / own[3]
        at[active] = here
        low = origin[active, 1] + here * down[active]
        gone = (here > FAR) | ((low < top[active]) & (down[active] < 0))
        active = active[(gap > 1e-4 * here) & ~gone]
    for _ in range(3):  # Newton: the walk is slow where it only grazes
        here = origin + at[:, None] * direction
        gap, fall = below(waves, here), (slope(waves, here) * direction).sum(-1)
        step = gap / torch.where(fall.abs() < 1e-3, 1e-3, fall)
        at = at - step.clamp(-0.05, 0.05) * (gap.abs() < 0.05)
    gap = below(waves, origin + at[:, None] * direction)
    return torch.where((gap.abs() < 1e-3 * (1 + at)) & (at > 0), at, torch.inf)


def below(waves: Float[Tensor, "p w 4"], points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
    """How far points are below the hills, straight down, in meters."""
    return points[:, 1] + (_phase(waves, points).sin() * waves[..., 3]).sum(-1)


def slope(waves: Float[Tensor, "p w 4"], points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """The gradient of `below`: a normal that points into the hills."""
    rise = _phase(waves, points).cos() * waves[..., 3]
    along = (rise[..., None] * waves[..., :2]).sum(-2)
    return torch.stack([along[:, 0], torch.ones_like(along[:, 0]), along[:, 1]], dim=-1)


def _phase(waves: Tensor, points: Tensor) -> Float[Tensor, "p w"]:
    return points[:, None, 0] * waves[..., 0] + points[:, None, 2] * waves[..., 1] + waves[..., 2]


def ground_normals(
    rays: Rays, stage: Stage, wall: Int[Tensor, "t r"], points: Float[Tensor, "t r 3"]
) -> Float[Tensor, "t r 3"]:
    """Unit normals that point at whoever sees the ground."""
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    inward = rearrange(
        [axes, -axes], "sign wall xyz -> (wall sign) xyz"
    )  # -x wall looks to +x, and so on
    normal = inward[wall]
    hills = (stage.ground.kind[rays.scene] == w.TERRAIN).nonzero()[:, 0]
    if len(hills):
        waves = stage.ground.waves[rays.scene[hills]].repeat_interleave(points.shape[1], dim=0)
        gradient = -slope(waves, rearrange(points[hills], "t r xyz -> (t r) xyz"))
        gradient = rearrange(gradient, "(t r) xyz -> t r xyz", t=len(hills))
        normal[hills] = gradient / gradient.norm(dim=-1, keepdim=True)
    return normal
