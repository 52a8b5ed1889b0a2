"""Cameras from predicted rays: a robust homography per view, split into rotation and intrinsics."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.blocks.precision import in_float64
from recon_backbones.geometry.cameras import invert_rigid

_TRIALS, _SAMPLE, _CONFIDENT, _THRESHOLD, _MAX_INLIERS = 100, 8, 0.3, 0.2, 8000


def cameras_from_rays(
    rays: Float[Tensor, "b v y x 6"],
    confidence: Float[Tensor, "b v y x"],
    image_size: tuple[int, int],
    *,
    seed: int = 0,
) -> tuple[Float[Tensor, "b v 3 4"], Float[Tensor, "b v 3 3"]]:
    """World-to-camera poses and intrinsics that explain rays (direction, origin) best.

    Directions are R K^-1 p of the image plane p in [-1, 1]^2. A homography is fitted by weighted
    direct linear transformation inside RANSAC, and split by a QL decomposition; the center is the
    weighted mean of the origins. Principal points off the center are found only roughly.

    Source: Depth Anything 3 (arXiv 2511.10647), ray representation.
    """
    b, v, y, x, _ = rays.shape
    generator = torch.Generator(device="cpu").manual_seed(seed)
    flat = rearrange(in_float64(rays), "b v y x c -> (b v) (y x) c")
    weights = rearrange(in_float64(confidence), "b v y x -> (b v) (y x)")
    plane = _plane(y, x, flat.device)
    fitted = [_one_view(plane, r, w, generator) for r, w in zip(flat, weights, strict=True)]
    rotation, center, lower = (torch.stack(part) for part in zip(*fitted, strict=True))
    camera_to_world = rearrange(
        torch.cat((rotation, center[..., None]), dim=-1), "(b v) i j -> b v i j", b=b
    )
    half = (image_size[1] / 2, image_size[0] / 2)
    k = torch.eye(3, dtype=torch.float64, device=flat.device).repeat(b * v, 1, 1)
    for axis in (0, 1):
        k[:, axis, axis] = half[axis] / lower[:, axis, axis]
        k[:, axis, 2] = half[axis] * (lower[:, 2, axis] + 1)
    k = rearrange(k, "(b v) i j -> b v i j", b=b)
    return invert_rigid(camera_to_world).to(rays), k.to(rays)


def _plane(height: int, width: int, device: torch.device) -> Float[Tensor, "n 2"]:
    """Cell centers of a grid over [-1, 1]^2, column first, in raster order."""
    x = (2 * torch.arange(width, device=device) + 1).double() / width - 1
    y = (2 * torch.arange(height, device=device) + 1).double() / height - 1
    grid = torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1)
    return rearrange(grid, "y x xy -> (y x) xy")


def _one_view(
    plane: Float[Tensor, "n 2"],
    rays: Float[Tensor, "n 6"],
    weights: Float[Tensor, " n"],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, center, and the lower-triangular inverse intrinsics of one view."""
    depth = rays[:, 2]
    usable = depth.abs() > 1e-4
    weights = torch.where(usable, weights, 0)
    target = rays[:, :2] / torch.where(usable, depth, 1)[:, None]
    inliers = _ransac(plane, target, weights, generator)
    homography = _fit(plane[inliers], target[inliers], weights[inliers])
    homography = homography * torch.linalg.det(homography).sign()
    rotation, lower = _ql(homography)
    center = (rays[:, 3:] * weights[:, None]).sum(0) / weights.sum()
    return rotation, center, lower / lower[2, 2]


def _ransac(
    plane: Float[Tensor, "n 2"],
    target: Float[Tensor, "n 2"],
    weights: Float[Tensor, " n"],
    generator: torch.Generator,
) -> Bool[Tensor, " n"]:
    """Inliers of the best of many fits to samples of the most confident rays."""
    count = max(_SAMPLE, int(len(plane) * _CONFIDENT))
    confident = weights.argsort(descending=True)[:count]
    draws = [
        torch.randperm(count, generator=generator, device="cpu")[:_SAMPLE] for _ in range(_TRIALS)
    ]
    picked = confident[torch.stack(draws).to(plane.device)]
    trials = _fit(plane[picked], target[picked], weights[picked])  # [t 3 3]
    mapped = torch.cat((plane, torch.ones_like(plane[:, :1])), dim=1) @ trials.mT
    distance = (mapped[..., :2] / mapped[..., 2:] - target).square().sum(-1).sqrt()
    inliers = distance < _THRESHOLD
    best = inliers[(inliers * weights).sum(-1).argmax()]
    if best.sum() <= _MAX_INLIERS:
        return best
    strongest = torch.where(best, weights, -1).argsort(descending=True)[: int(0.95 * best.sum())]
    chosen = torch.randperm(len(strongest), generator=generator, device="cpu")[:_MAX_INLIERS]
    kept = torch.zeros_like(best)
    kept[strongest[chosen.to(strongest.device)]] = True
    return kept


def _fit(
    source: Float[Tensor, "*t k 2"], target: Float[Tensor, "*t k 2"], weights: Float[Tensor, "*t k"]
) -> Float[Tensor, "*t 3 3"]:
    """Weighted direct linear transformation, the last entry scaled to one."""
    one = torch.cat((source, torch.ones_like(source[..., :1])), dim=-1)
    zero = torch.zeros_like(one)
    u, v = target[..., :1], target[..., 1:]
    rows = torch.cat(
        (torch.cat((-one, zero, u * one), dim=-1), torch.cat((zero, -one, v * one), dim=-1)), dim=-2
    )
    rows = rows * torch.cat((weights, weights), dim=-1).sqrt()[..., None]
    null = torch.linalg.eigh(rows.mT @ rows).eigenvectors[..., 0]
    return rearrange(null / null[..., 8:], "... (row column) -> ... row column", row=3)


def _ql(matrix: Float[Tensor, "3 3"]) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 3"]]:
    """Split into a rotation and a lower-triangular matrix with positive diagonal."""
    q, r = torch.linalg.qr(matrix.flip(1))
    q, lower = q.flip(1), r.flip(0, 1)
    sign = lower.diagonal().sign()
    return q * sign, lower * sign[:, None]
