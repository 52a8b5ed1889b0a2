"""The loss of the teacher's pretraining, each term by name."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from recon_backbones.geometry.quaternions import rotation_from_quaternion

from .targets import IGNORE, Targets, rays

WEIGHTS = {
    "depth": 1.0,
    "gradient": 0.5,
    "confidence": 0.05,
    "pose": 4.0,
    "direction": 0.5,
    "rays": 1.0,
    "match": 0.3,
}
NEAR = 0.03
"""Baselines shorter than this, in units of the scene, count for less and less."""


def depth_terms(
    log_depth: Float[Tensor, "b v y x"],
    confidence: Float[Tensor, "b v y x"],
    target: Float[Tensor, "b v y x"],
) -> dict[str, Tensor]:
    """L1 of log depth, of its differences at two scales, and a fitted confidence.

    The confidence c minimises c * |error| - 0.3 log c with the error held fixed, so that it learns
    where the depth is wrong without steering it.
    """
    error = log_depth - target.log()
    gradient = sum(
        error[..., s:, :].sub(error[..., :-s, :]).abs().mean()
        + error[..., s:].sub(error[..., :-s]).abs().mean()
        for s in (1, 4)
    )
    size = error.abs()
    fitted = (confidence * size.detach() - 0.3 * confidence.log()).mean()
    return {"depth": size.mean(), "gradient": torch.as_tensor(gradient), "confidence": fitted}


def pose_term(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> Tensor:
    """L1 of translation, quaternion and half the fields of view, as DA3 and VGGT train them."""
    error = (pose - target).abs()
    return error[..., :3].mean() + error[..., 3:7].mean() + 0.5 * error[..., 7:].mean()


def direction_term(pose: Float[Tensor, "b v 9"], target: Float[Tensor, "b v 9"]) -> Tensor:
    """Distance between the unit directions from every view to every other, each in its own frame.

    An L1 loss of positions is ruled by long baselines; directions weigh all pairs alike.
    """
    found, true = _towards(pose), _towards(target)
    error = torch.linalg.vector_norm(found - true + 1e-6, dim=-1)
    pairs = pose.shape[1] * (pose.shape[1] - 1)
    return error.sum() / max(1, len(pose) * pairs)


def _towards(pose: Float[Tensor, "b v 9"]) -> Float[Tensor, "b v v 3"]:
    """Direction from view i to view j in the frame of view i; shorter where the views are near."""
    rotation = rotation_from_quaternion(pose[..., 3:7])
    baseline = pose[:, None, :, :3] - pose[:, :, None, :3]
    local = torch.einsum("biyx,bijy->bijx", rotation, baseline)
    return local / (local.square().sum(-1, keepdim=True) + NEAR * NEAR).sqrt()


def ray_term(predicted: Float[Tensor, "b v rows columns 6"], targets: Targets) -> Tensor:
    """L1 of ray directions and origins on the grid that the network answers."""
    return (predicted - rays(targets, *predicted.shape[2:4])).abs().mean()


def match_term(logits: list[Float[Tensor, "b v p v p"]], targets: Targets) -> tuple[Tensor, Tensor]:
    """Cross-entropy of attention logits against true correspondences, and how often they agree.

    Row: a patch of view i. Classes: the patches of view j. One term per layer given.
    """
    goal = targets.matches.flatten()
    if not bool((goal != IGNORE).any()):
        zero = goal.new_zeros((), dtype=torch.float32)
        return zero, zero
    losses = [F.cross_entropy(layer.flatten(0, 3), goal, ignore_index=IGNORE) for layer in logits]
    best = logits[-1].flatten(0, 3).argmax(-1)
    agree = (best == goal)[goal != IGNORE].float().mean()
    return torch.stack(losses).mean(), agree
