"""Where pixels of the first view are in all others, and how far a tracker is from that."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.training.losses import faded, masked_mean
from recon_backbones.training.targets import PATCH, Targets, sight, world_points
from recon_backbones.vggt.tracker import Tracks

SIDE = 8
"""Pixels to follow, along each side of the first view."""
FADE = 0.8
"""Weight of a pass of the tracker, of that of the pass behind it."""
NEAR = 4.0
"""Pixels off, below which a track counts as right where the confidence is fitted."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Pixels (x, y) of places that the first view sees, and whether each view sees them."""

    at: Float[Tensor, "b v p 2"]
    seen: Bool[Tensor, "b v p"]
    inside: Bool[Tensor, "b v p"]


def followed(targets: Targets) -> Followed:
    """Follow one pixel in each cell of a grid over the first view, drawn anew for every scene."""
    rows, columns = _pixels(targets)
    scenes = torch.arange(len(rows), device=rows.device)[:, None]
    points = world_points(targets)[scenes, 0, rows, columns]
    valid = targets.valid[scenes, 0, rows, columns][:, None]
    found = sight(points, targets.depth, targets.valid, targets.camera_to_world, targets.intrinsics)
    at = found.at - 0.5  # 0 at a pixel's center
    return Followed(at=at, seen=found.seen & valid, inside=found.inside & valid)


def _pixels(targets: Targets) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels to follow; the scene decides them, so that a rerun agrees."""
    height, width = targets.depth.shape[-2:]
    draw = torch.Generator().manual_seed(int(targets.depth.double().sum().item() * 1000) % 2**31)
    count = (len(targets.depth), SIDE, SIDE)
    along = torch.arange(SIDE, dtype=torch.float32, device="cpu")
    down, across = (
        torch.rand(count, generator=draw, dtype=along.dtype, device="cpu") for _ in range(2)
    )
    rows = (along[:, None] + down) * (height / SIDE)
    columns = (along + across) * (width / SIDE)
    device = targets.depth.device
    return (
        rearrange(rows.long(), "b r c -> b (r c)").to(device),
        rearrange(columns.long(), "b r c -> b (r c)").to(device),
    )


def track_terms(found: Tracks, goal: Followed) -> dict[str, Tensor]:
    """L1 of every pass in patches, where a place is in the picture; whether it is seen, and sure.

    The first view, which is given, has no say.
    """
    inside, seen = goal.inside[:, 1:], goal.seen[:, 1:]
    errors = [(at - goal.at).abs().sum(-1)[:, 1:] / PATCH for at in found.passes]
    passes = [masked_mean(error, inside) for error in errors]
    near = (errors[-1].detach() * PATCH < NEAR) & inside
    visible = _cross_entropy(found.visibility[:, 1:], seen)
    sure = _cross_entropy(found.confidence[:, 1:], near)
    return {"tracks": faded(passes, FADE), "visible": visible + sure}


def _cross_entropy(chance: Tensor, true: Tensor) -> Tensor:
    if not true.numel():  # a single view
        return chance.sum()
    return F.binary_cross_entropy(chance.clamp(1e-6, 1 - 1e-6), true.to(chance.dtype))
