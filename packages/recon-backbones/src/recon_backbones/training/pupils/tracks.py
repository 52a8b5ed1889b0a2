"""Where pixels of the first view are in all others, and how far a tracker is from that."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.geometry.cameras import invert_rigid
from recon_backbones.training.losses import masked_mean
from recon_backbones.training.targets import PATCH, Targets, rays
from recon_backbones.vggt.tracker import Tracks

SIDE = 8
"""Pixels to follow, along each side of the first view."""
FADE = 0.8
"""Weight of a pass of the tracker, of that of the pass behind it."""
NEAR = 4.0
"""Pixels off, below which a track counts as right where the confidence is fitted."""
SEEN = 0.06
"""Depth may differ by this share from that of the place that is followed."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Pixels (x, y) of places that the first view sees, and whether each view sees them."""

    at: Float[Tensor, "b v p 2"]
    seen: Bool[Tensor, "b v p"]
    inside: Bool[Tensor, "b v p"]


def followed(targets: Targets) -> Followed:
    """Follow one pixel in each cell of a grid over the first view, drawn anew for every scene."""
    rows, columns = _pixels(targets)
    height, width = targets.depth.shape[-2:]
    scenes = torch.arange(len(rows), device=rows.device)[:, None]
    depth = targets.depth[scenes, 0, rows, columns]
    cast = rays(targets, height, width)[scenes, 0, rows, columns]
    points = cast[..., 3:] + cast[..., :3] * depth[..., None]
    camera = invert_rigid(targets.camera_to_world)
    local = einsum(camera[..., :3], points, "b v i j, b p j -> b v p i") + camera[:, :, None, :, 3]
    projected = einsum(targets.intrinsics, local, "b v i j, b v p j -> b v p i")
    z = projected[..., 2]
    at = projected[..., :2] / z.clamp_min(1e-6)[..., None] - 0.5  # 0 at a pixel's center
    limit = torch.tensor([width - 0.5, height - 0.5], device=at.device)
    inside = (z > 1e-3) & ((at >= -0.5) & (at < limit)).all(-1)
    inside &= targets.valid[scenes, 0, rows, columns][:, None]
    return Followed(at=at, seen=inside & _meets(targets, at, z), inside=inside)


def _pixels(targets: Targets) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels to follow; the scene decides them, so that a rerun agrees."""
    height, width = targets.depth.shape[-2:]
    draw = torch.Generator().manual_seed(int(targets.depth.double().sum().item() * 1000) % 2**31)
    count = (len(targets.depth), SIDE, SIDE)
    along = torch.arange(SIDE)
    rows = (along[:, None] + torch.rand(count, generator=draw)) * (height / SIDE)
    columns = (along + torch.rand(count, generator=draw)) * (width / SIDE)
    device = targets.depth.device
    return (
        rearrange(rows.long(), "b r c -> b (r c)").to(device),
        rearrange(columns.long(), "b r c -> b (r c)").to(device),
    )


def _meets(targets: Targets, at: Float[Tensor, "b v p 2"], z: Tensor) -> Bool[Tensor, "b v p"]:
    """Whether a view's own depth is that of the place, where the place would be."""
    height, width = targets.depth.shape[-2:]
    column = at[..., 0].round().clamp(0, width - 1).long()
    row = at[..., 1].round().clamp(0, height - 1).long()
    there = torch.where(targets.valid, targets.depth, -1.0)
    flat = rearrange(there, "b v y x -> b v (y x)")
    own = flat.gather(-1, row * width + column)
    return (own - z).abs() < SEEN * z


def track_terms(found: Tracks, goal: Followed) -> dict[str, Tensor]:
    """L1 of every pass in patches, where a place is in the picture; whether it is seen, and sure.

    The first view, which is given, has no say.
    """
    last = len(found.passes) - 1
    inside, seen = goal.inside[:, 1:], goal.seen[:, 1:]
    errors = [(at - goal.at).abs().sum(-1)[:, 1:] / PATCH for at in found.passes]
    weights = [FADE ** (last - i) for i in range(last + 1)]
    passes = [w * masked_mean(e, inside) for w, e in zip(weights, errors, strict=True)]
    near = (errors[-1].detach() * PATCH < NEAR) & inside
    visible = _cross_entropy(found.visibility[:, 1:], seen)
    sure = _cross_entropy(found.confidence[:, 1:], near)
    return {"tracks": torch.stack(passes).sum() / sum(weights), "visible": visible + sure}


def _cross_entropy(chance: Tensor, true: Tensor) -> Tensor:
    if not true.numel():  # a single view
        return chance.sum()
    return F.binary_cross_entropy(chance.clamp(1e-6, 1 - 1e-6), true.to(chance.dtype))
