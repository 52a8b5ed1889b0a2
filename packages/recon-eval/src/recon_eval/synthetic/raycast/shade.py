"""Light: one lamp or the sun with hard shadows, light from all around, reflections, a sky."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon_eval.synthetic.raycast.ground import ground_hit, ground_normals
from recon_eval.synthetic.raycast.stage import Stage
from recon_eval.synthetic.raycast.texture import albedo, noise
from recon_eval.synthetic.raycast.tiles import Rays
from recon_eval.synthetic.raycast.trace import first_hit, is_shaded, surface
from recon_eval.synthetic.worlds import world as w

HAZE = 150.0
"""Meters after which the color of the horizon has taken over by two thirds."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What each ray meets: place, unit normal towards the viewer's side, color and gloss."""

    points: Float[Tensor, "t r 3"]
    normals: Float[Tensor, "t r 3"]
    albedo: Float[Tensor, "t r 3"]
    gloss: Float[Tensor, "t r"]


def look(rays: Rays, stage: Stage) -> tuple[Float[Tensor, "t r 3"], Float[Tensor, "t r"]]:
    """Linear colors and the parameter of every ray's hit, infinity where it is the sky."""
    at, solid = first_hit(rays, stage)
    ground, wall = ground_hit(rays, stage)
    solid = torch.where(at < ground, solid, -1)
    at = torch.minimum(at, ground)
    is_sky = at.isinf()
    reach = at.masked_fill(is_sky, 1.0)
    found = _surface(rays, stage, reach, solid, wall)
    color = _light(rays, stage, found)
    indoors = stage.ground.kind[rays.scene] == w.ROOM
    haze = torch.exp(-reach / HAZE).masked_fill(indoors[:, None], 1.0)[..., None]
    horizon = stage.light.horizon[rays.scene][:, None]
    color = color * haze + horizon * (1 - haze)
    tile, place = is_sky.nonzero(as_tuple=True)
    color[tile, place] = sky(rays.direction[tile, place], rays.scene[tile], stage)
    return color, at


def _surface(rays: Rays, stage: Stage, reach: Tensor, solid: Tensor, wall: Tensor) -> Surface:
    points = rays.origin[:, None] + reach[..., None] * rays.direction
    normals = ground_normals(rays, stage, wall, points)
    places, local = points.clone(), normals.clone()
    material = stage.ground.material[rays.scene][:, :, None].expand(-1, -1, wall.shape[1])
    material = material.gather(1, wall[:, None])[:, 0]
    tile, place = (solid >= 0).nonzero(as_tuple=True)
    if len(tile):
        number = solid[tile, place]
        found = surface(stage, number, points[tile, place])
        normals[tile, place], places[tile, place], local[tile, place] = found
        material[tile, place] = stage.solids.material[number]
    footprint = reach * rays.pixel[:, None]
    flat = (material.flatten(), places.flatten(0, 1), local.flatten(0, 1), footprint.flatten())
    return Surface(
        points=points,
        normals=normals,
        albedo=albedo(stage.materials, *flat).view_as(points),
        gloss=stage.materials.gloss[material],
    )


def _light(rays: Rays, stage: Stage, found: Surface) -> Float[Tensor, "t r 3"]:
    """Lambert's law, a soft term from above, a highlight, and a mirrored sky on glossy things."""
    light = stage.light.position[rays.scene]
    start = found.points + 2e-3 * found.normals
    shaded = is_shaded(start, light, rays.scene, stage)
    to_light = _unit(light[:, None] - found.points)
    cosine = (found.normals * to_light).sum(-1).clamp_min(0).masked_fill(shaded, 0)
    ambient = stage.light.ambient[rays.scene][:, None] * (1 - 0.35 * found.normals[..., 1:2])
    color = stage.light.color[rays.scene][:, None]
    lit = found.albedo * (ambient + color * cosine[..., None])
    tile, place = (found.gloss > 0).nonzero(as_tuple=True)
    scene, normals = rays.scene[tile], found.normals[tile, place]
    ahead = _unit(rays.direction[tile, place])
    facing = (normals * ahead).sum(-1, keepdim=True)
    mirrored = ahead - 2 * facing * normals
    shine = (mirrored * to_light[tile, place]).sum(-1, keepdim=True).clamp_min(0).pow(40)
    shine = shine * stage.light.color[scene] * (cosine[tile, place][:, None] > 0)
    fresnel = 0.25 + 0.75 * (1 - facing.abs()).clamp(0, 1).pow(3)
    fresnel = fresnel * found.gloss[tile, place][:, None]
    reflected = sky(mirrored, scene, stage) + shine
    lit[tile, place] = lit[tile, place] * (1 - fresnel) + fresnel * reflected
    return lit


def sky(
    direction: Float[Tensor, "p 3"], scene: Int[Tensor, " p"], stage: Stage
) -> Float[Tensor, "p 3"]:
    """A gradient with clouds; below the horizon it darkens. Indoors it is what gloss mirrors."""
    light = stage.light
    ahead = _unit(direction)
    up = -ahead[:, 1:2]
    plane = 1.3 * ahead / up.abs().clamp_min(0.08) + light.position[scene].remainder(100)
    wisps = noise(plane)
    horizon = light.horizon[scene]
    color = horizon + (light.zenith[scene] - horizon) * up.clamp(0, 1).sqrt()
    clouds = light.clouds[scene][:, None] * (wisps[:, :1] + 0.5 * wisps[:, 1:2])
    color = color + (1 - color) * clouds.clamp(0, 1) * (up > 0)
    return torch.where(up < 0, horizon * (0.6 + 0.4 * (1 + up).clamp(0, 1)), color)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-9)
