"""Which view leads: the reference view of Depth Anything 3 and the order that follows from it."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon_backbones.backbone import Reference


def reference_view(class_tokens: Float[Tensor, "b v c"], rule: Reference) -> Int64[Tensor, " b"]:
    """Choose one view per scene from the class tokens.

    "saddle_balanced" takes the view whose mean similarity to the others, token length and token
    variance all lie nearest the middle of their ranges; "saddle_sim_range" the one whose
    similarities spread most (ill-posed: the two most similar views often tie).

    Raises ValueError for an unknown rule.
    """
    b, v, _ = class_tokens.shape
    if rule in ("first", "middle"):
        index = 0 if rule == "first" else v // 2
        return torch.full((b,), index, dtype=torch.int64, device=class_tokens.device)
    if rule not in ("saddle_balanced", "saddle_sim_range"):
        known = "saddle_balanced, saddle_sim_range, first, middle"
        raise ValueError(f"reference={rule!r}; it must be known: pass one of {known}")
    tokens = class_tokens.float()
    length: Tensor = tokens.square().sum(-1).sqrt()
    unit = tokens / length.unsqueeze(-1)
    similarity = unit @ unit.mT  # [b v v]
    if rule == "saddle_sim_range":
        off = similarity - torch.eye(v, dtype=tokens.dtype, device=tokens.device)
        return (off.amax(-1) - off.amin(-1)).argmax(-1)
    mean = (similarity.sum(-1) - 1) / (v - 1)
    scores = torch.stack((mean, length, unit.var(dim=-1)))
    low, high = scores.amin(-1, keepdim=True), scores.amax(-1, keepdim=True)
    centered = (scores - low) / (high - low + 1e-8) - 0.5
    return centered.abs().sum(0).argmin(-1)


def leading_order(reference: Int64[Tensor, " b"], views: int) -> Int64[Tensor, "b v"]:
    """Order of views with the reference in front and the others as they were."""
    index = torch.arange(views, device=reference.device).expand(len(reference), -1)
    rank = torch.where(index == reference[:, None], 0, index + (index < reference[:, None]))
    return rank.argsort(dim=1)


def take_views(x: Float[Tensor, "b v n c"], order: Int64[Tensor, "b v"]) -> Tensor:
    """Reorder the views of each scene."""
    return x[torch.arange(len(order), device=order.device)[:, None], order]
