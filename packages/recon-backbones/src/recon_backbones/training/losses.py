"""The loss of a training on true depth and cameras, each term by name."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon_backbones.geometry.quaternions import rotation_from_quaternion
from recon_backbones.training.targets import IGNORE, Targets, rays

WEIGHTS = {
    "depth": 1.0,
    "gradient": 0.5,
    "confidence": 0.05,
    "pose": 4.0,
    "aspect": 16.0,
    "direction": 2.0,
    "rotation": 1.0,
    "rays": 1.0,
    "points": 1.0,
    "tracks": 0.3,
    "visible": 0.1,
    "match": 0.3,
}
NEAR = 0.03
"""Baselines shorter than this, in units of the scene, count for less and less."""
SKY = 1.0
"""The error that stands for sky where the confidence is fitted."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places of a mask; zero if it has none."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def faded(passes: Sequence[Tensor], fade: float) -> Tensor:
    """Mean of the terms of passes, where each counts `fade` times as much as the one behind it."""
    weights = [fade**later for later in reversed(range(len(passes)))]
    return torch.stack([w * term for w, term in zip(weights, passes, strict=True)]).sum() / sum(
        weights
    )


def depth_terms(
    log_depth: Float[Tensor, "b v y x"],
    confidence: Float[Tensor, "b v y x"],
    target: Float[Tensor, "b v y x"],
    valid: Bool[Tensor, "b v y x"],
) -> dict[str, Tensor]:
    """L1 of log depth, of its differences at two scales, and a fitted confidence.

    The confidence c minimizes c * |error| - 0.3 log c with the error held fixed, so that it learns
    where the depth is wrong, or is sky, without steering it.
    """
    error = log_depth - target.log()
    gradient = torch.stack([_difference(error, valid, s) for s in (1, 4)]).sum()
    size = error.abs()
    held = torch.where(valid, size.detach(), SKY)
    fitted = (confidence * held - 0.3 * confidence.log()).mean()
    return {"depth": masked_mean(size, valid), "gradient": gradient, "confidence": fitted}


def _difference(error: Tensor, valid: Tensor, stride: int) -> Tensor:
    """Mean change of the error over `stride` rows, and over as many columns."""
    down = (error[..., stride:, :] - error[..., :-stride, :]).abs()
    across = (error[..., stride:] - error[..., :-stride]).abs()
    return masked_mean(down, valid[..., stride:, :] & valid[..., :-stride, :]) + masked_mean(
        across, valid[..., stride:] & valid[..., :-stride]
    )


def camera_terms(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> dict[str, Tensor]:
    """All terms of camera-to-world encodings."""
    return {
        "pose": pose_term(pose, target),
        "aspect": aspect_term(pose, target),
        "direction": direction_term(pose, target),
        "rotation": rotation_term(pose, target),
    }


def pose_term(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> Tensor:
    """L1 of translation, quaternion and half the fields of view, as DA3 and VGGT train them."""
    error = (pose - target).abs()
    return error[..., :3].mean() + error[..., 3:7].mean() + 0.5 * error[..., 7:].mean()


def aspect_term(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> Tensor:
    """How far pixels are from square: the squared error in the log ratio of the focal lengths.

    An absolute error asks for the median: where most pictures are square, the others are answered
    as if they were.
    """
    found, true = (_log_ratio(p) for p in (pose, target))
    return (found - true).square().mean()


def _log_ratio(pose: Float[Tensor, "b v 9"]) -> Float[Tensor, "b v"]:
    """Logarithm of the sensor's height over its width, from the two fields of view."""
    half = pose[..., 7:].clamp(0.05, 3.0) / 2
    return torch.tan(half[..., 0]).log() - torch.tan(half[..., 1]).log()


def direction_term(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> Tensor:
    """Distance between the unit directions from every view to every other, each in its own frame.

    An L1 loss of positions is ruled by long baselines; directions weigh all pairs alike.
    """
    error = torch.linalg.vector_norm(_towards(pose) - _towards(target) + 1e-6, dim=-1)
    return _over_pairs(error)


def rotation_term(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> Tensor:
    """Chordal distance between the rotations from every view to every other."""
    found, true = (_turns(p) for p in (pose, target))
    error = (found - true).square().sum((-1, -2)).add(1e-8).sqrt() / 2**0.5
    return _over_pairs(error)


def _over_pairs(error: Float[Tensor, "b v v"]) -> Tensor:
    """Mean over pairs of different views; those of a view with itself are nearly zero."""
    batch, views = error.shape[:2]
    return error.sum() / max(1, batch * views * (views - 1))


def _turns(pose: Float[Tensor, "b v 9"]) -> Float[Tensor, "b v v 3 3"]:
    rotation = rotation_from_quaternion(pose[..., 3:7])
    return einsum(rotation, rotation, "b i y x, b j y z -> b i j x z")


def _towards(pose: Float[Tensor, "b v 9"]) -> Float[Tensor, "b v v 3"]:
    """Direction from view i to view j in the frame of view i; shorter where the views are near."""
    rotation = rotation_from_quaternion(pose[..., 3:7])
    baseline = pose[:, None, :, :3] - pose[:, :, None, :3]
    local = einsum(rotation, baseline, "b i y x, b i j y -> b i j x")
    return local / (local.square().sum(-1, keepdim=True) + NEAR * NEAR).sqrt()


def ray_term(predicted: Float[Tensor, "b v rows columns 6"], targets: Targets) -> Tensor:
    """L1 of ray directions and origins on the grid that the network answers."""
    return (predicted - rays(targets, *predicted.shape[2:4])).abs().mean()


def match_term(
    logits: list[Float[Tensor, "b v r v p"]], goal: Int[Tensor, "b v r v"]
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of attention logits against true correspondences, and how often they agree.

    Row: a patch of view i. Classes: the patches of view j. One term per layer given.
    """
    flat = goal.flatten()
    if not bool((flat != IGNORE).any()):
        zero = flat.new_zeros((), dtype=torch.float32)
        return zero, zero
    rows = [rearrange(layer, "b i r j p -> (b i r j) p") for layer in logits]
    losses = [F.cross_entropy(layer, flat, ignore_index=IGNORE) for layer in rows]
    agree = (rows[-1].argmax(-1) == flat)[flat != IGNORE].float().mean()
    return torch.stack(losses).mean(), agree
