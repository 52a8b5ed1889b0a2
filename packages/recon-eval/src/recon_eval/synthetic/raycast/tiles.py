"""Rays in square tiles of pixels, and which solids a tile can meet at all.

Most solids cover little of an image. A tile's rays lie in a cone, and only the solids whose ball
meets that cone are tried: the cost follows what is seen, not what there is.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from recon_eval.synthetic.raycast.stage import Stage

TILE = 16


@dataclass(frozen=True, kw_only=True)
class Rays:
    """Tiles of rays `origin + t * direction`; the world and the footprint of a pixel at t = 1."""

    origin: Float[Tensor, "t 3"]
    direction: Float[Tensor, "t r 3"]
    scene: Int[Tensor, " t"]
    pixel: Float[Tensor, " t"]

    def split(self, count: int) -> list["Rays"]:
        """The same rays, at most `count` tiles at a time."""
        parts = (t.split(count) for t in (self.origin, self.direction, self.scene, self.pixel))
        return [
            Rays(origin=o, direction=d, scene=s, pixel=p) for o, d, s, p in zip(*parts, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Tiles and solids that may meet."""

    tile: Int[Tensor, " p"]
    solid: Int[Tensor, " p"]


def to_tiles(pixels: Float[Tensor, "c y x d"]) -> Float[Tensor, "t r d"]:
    """Cut images into tiles; the last row and column are repeated where a tile hangs over."""
    height, width = pixels.shape[1:3]
    rows, columns = (
        torch.arange(-(-side // TILE) * TILE, device=pixels.device).clamp_max(side - 1)
        for side in (height, width)
    )
    full = pixels[:, rows][:, :, columns]
    return rearrange(full, "c (ty a) (tx b) d -> (c ty tx) (a b) d", a=TILE, b=TILE)


def from_tiles(
    tiles: Float[Tensor, "t r d"], cameras: int, height: int, width: int
) -> Float[Tensor, "c y x d"]:
    """Put the tiles of `to_tiles` together again."""
    down = -(-height // TILE)
    full = rearrange(
        tiles, "(c ty tx) (a b) d -> c (ty a) (tx b) d", c=cameras, ty=down, a=TILE, b=TILE
    )
    return full[:, :height, :width]


def seen_by(rays: Rays, stage: Stage) -> Pairs:
    """Solids whose ball meets the cone of a tile's rays."""
    unit = rays.direction / rays.direction.norm(dim=-1, keepdim=True)
    axis = unit.mean(1)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    cosine = torch.einsum("trd,td->tr", unit, axis).amin(1).clamp(0, 1) - 1e-5
    sine = (1 - cosine.square()).clamp_min(0).sqrt()

    def meets(tiles: Tensor, solids: Tensor) -> Tensor:
        to_center = stage.solids.center[solids] - rays.origin[tiles][:, None]
        along = (to_center * axis[tiles][:, None]).sum(-1)
        across = (to_center.square().sum(-1) - along.square()).clamp_min(0).sqrt()
        radius = stage.radius[solids]
        outside = across * cosine[tiles, None] - along * sine[tiles, None]
        return (outside <= radius) & (along > -radius)

    return _pairs(rays.scene, stage, meets)


def between(
    points: Float[Tensor, "t r 3"], target: Float[Tensor, "t 3"], scene: Tensor, stage: Stage
) -> Pairs:
    """Solids whose ball meets the way from any point of a tile to the tile's target."""
    middle = (points.amax(1) + points.amin(1)) / 2
    reach = (points - middle[:, None]).norm(dim=-1).amax(1)
    way = target - middle

    def meets(tiles: Tensor, solids: Tensor) -> Tensor:
        to_center = stage.solids.center[solids] - middle[tiles][:, None]
        along = (to_center * way[tiles][:, None]).sum(-1) / way[tiles].square().sum(-1)[:, None]
        nearest = along.clamp(0, 1)[..., None] * way[tiles][:, None]
        gap = (to_center - nearest).norm(dim=-1)
        return gap <= stage.radius[solids] + reach[tiles, None] + 0.02

    return _pairs(scene, stage, meets)


def _pairs(scene: Tensor, stage: Stage, meets: object) -> Pairs:
    """Try every tile with every solid of its own world."""
    assert callable(meets)
    tile, solid = [], []
    for number in scene.unique().tolist():
        tiles = (scene == number).nonzero()[:, 0]
        solids = (stage.scene == number).nonzero()[:, 0]
        found = meets(tiles, solids).nonzero()
        tile.append(tiles[found[:, 0]])
        solid.append(solids[found[:, 1]])
    return Pairs(tile=torch.cat(tile), solid=torch.cat(solid))
