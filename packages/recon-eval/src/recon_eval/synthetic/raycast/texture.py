"""Procedural colors of surfaces, from their places in meters."""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from recon_eval.synthetic.worlds import world as w

NOISE_SIDE = 32
"""The noise repeats after this many grid points, half a unit of a texture apart."""


@cache
def noise_volume(device: torch.device) -> Float[Tensor, "3 g g g"]:
    """One periodic volume of numbers in [-1, 1] for all worlds: they differ by their offsets."""
    values = np.random.default_rng(20260).uniform(-1, 1, (3, *[NOISE_SIDE] * 3))
    wrapped = np.pad(values, [(0, 0), *[(0, 1)] * 3], mode="wrap")
    return torch.from_numpy(wrapped.astype(np.float32)).to(device)


def noise(places: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """Trilinear noise with two grid points a unit: three values in [-1, 1] for each place."""
    volume = noise_volume(places.device)
    grid = (places * (2 / NOISE_SIDE)).remainder(1) * 2 - 1
    sampled = F.grid_sample(volume[None], grid.view(1, -1, 1, 1, 3), align_corners=True)
    return sampled[0, :, :, 0, 0].T


def albedo(
    materials: w.Materials,
    material: Int[Tensor, " p"],
    places: Float[Tensor, "p 3"],
    normals: Float[Tensor, "p 3"],
    footprint: Float[Tensor, " p"],
) -> Float[Tensor, "p 3"]:
    """Colors in [0, 1] of places given in meters of their solid's frame.

    Patterns with a grain finer than `footprint`, the width of a pixel in meters, fade into their
    mean, as they do in a photograph.
    """
    frequency = materials.frequency[material]
    scaled = torch.addcmul(materials.offset[material], places, frequency[:, None])
    width = footprint * frequency
    coarse, fine = noise(scaled), noise(scaled * 3.1 + 5.3)
    kind = materials.pattern[material]
    mix = torch.full_like(frequency, 0.5)
    for number in range(w.CHECKER, w.SPECKLE + 1):
        at = (kind == number).nonzero()[:, 0]
        if len(at):
            flat = _flatten(scaled[at], normals[at])
            mix[at] = _pattern(number, scaled[at], flat, coarse[at], fine[at])
    mix = 0.5 + (mix - 0.5) * _fade(2 * width)
    grain = materials.grain[material] * _fade(2 * width)
    first, second = materials.colors[material].unbind(1)
    spots = coarse + fine * _fade(6 * width)[:, None]
    spots = 0.3 * spots + 0.7 * spots[:, :1]  # dirt changes brightness more than color
    return (first + (second - first) * mix[:, None] + grain[:, None] * spots * 0.7).clamp(0, 1)


def _fade(cycles: Tensor) -> Tensor:
    """1 where a pixel is much smaller than a cycle, 0 where it is larger."""
    return (2 - 2 * cycles).clamp(0, 1)


def _flatten(places: Tensor, normals: Tensor) -> Float[Tensor, "p 2"]:
    """Two coordinates along the surface: without the axis that its normal is nearest to."""
    x, y, z = places.unbind(-1)
    axis = normals.abs().argmax(-1)
    across = torch.where(axis == 0, z, x)
    return torch.stack([across, torch.where(axis == 1, z, y)], dim=-1)


def _pattern(kind: int, places: Tensor, flat: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
    """Mixing weight in [0, 1] of the second color."""
    u, v = flat.unbind(-1)
    if kind == w.CHECKER:
        return ((2 * u).floor() + (2 * v).floor()).remainder(2)
    if kind == w.STRIPES:
        return ((2 * u + 0.3 * coarse[:, 0]).remainder(1) < 0.45).float()
    if kind == w.WAVES:
        x, _, z = places.unbind(-1)
        return 0.5 + 0.5 * torch.sin(2 * math.pi * (x + z) + 3 * coarse[:, 1])
    if kind == w.PATCHES:
        return (coarse[:, 2] + 0.5 * fine[:, 1] > 0).float()
    if kind == w.BRICKS:
        row = (4 * v).floor()
        along = (2 * u + 0.5 * row.remainder(2)).remainder(1)
        return ((along < 0.08) | ((4 * v).remainder(1) < 0.14)).float()
    if kind == w.WINDOWS:
        across, down = (0.8 * u).remainder(1), (0.6 * v).remainder(1)
        pane = (across - 0.5).abs().maximum((down - 0.5).abs())
        bar = ((across - 0.5).abs() < 0.02) | ((down - 0.5).abs() < 0.02)
        return ((pane < 0.3) & ~bar).float()
    if kind == w.PLANKS:
        board = (3 * u).floor()
        streaks = 0.4 + 0.3 * torch.sin(9 * (v * 0.3 + board * 1.7) + 4 * coarse[:, 0])
        return torch.where((3 * u).remainder(1) < 0.06, 1.0, streaks)
    return (0.5 + 0.9 * fine[:, 0]).clamp(0, 1)
