"""Solid textures: a color for every point in space, so that all views agree on it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.synthetic.rooms.world import Materials

NOISE, CHECKER, STRIPES, WAVES, PATCHES = range(5)


def albedo(
    materials: Materials, material: int, points: Float[Tensor, "3 p"]
) -> Float[Tensor, "3 p"]:
    """Return the color in [0, 1] of points given in their solid's own frame, in meters."""
    places = points * materials.frequency[material] + materials.offset[material][:, None]
    coarse = _noise(materials.noise, places)
    fine = _noise(materials.noise, places * 3.1 + 5.3)
    mix = _pattern(int(materials.pattern[material]), places, coarse, fine)
    first, second = materials.colors[material][:, :, None]
    return (first + (second - first) * mix + 0.16 * coarse + 0.14 * fine).clamp(0, 1)


def _pattern(kind: int, places: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
    """Mixing weight in [0, 1] of the second color."""
    x, y, z = places
    if kind == CHECKER:
        return ((2 * x).floor() + (2 * y).floor() + (2 * z).floor()).remainder(2)
    if kind == STRIPES:
        return ((2 * (x + 0.6 * y + 0.3 * z) + 0.4 * coarse[0]).frac().abs() < 0.45).float()
    if kind == WAVES:
        return 0.5 + 0.5 * torch.sin(2 * math.pi * (x + z) + 3 * coarse[1])
    if kind == PATCHES:
        return (coarse[2] + 0.5 * fine[1] > 0).float()
    return (0.5 + 0.9 * coarse[0]).clamp(0, 1)


def _noise(volume: Tensor, places: Tensor) -> Tensor:
    """Trilinear periodic noise of period `g / 2`, two grid steps a unit: `3 p` in [-1, 1]."""
    period = (volume.shape[-1] - 1) / 2
    grid = (places / period).remainder(1).T * 2 - 1
    sampled = torch.nn.functional.grid_sample(
        volume[None], grid.view(1, -1, 1, 1, 3), align_corners=True, mode="bilinear"
    )
    return sampled[0, :, :, 0, 0]
