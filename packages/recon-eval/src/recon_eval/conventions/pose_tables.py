"""Pose AUC as published tables define it.

All fold the direction error to [0, 90] degrees, give a pair without a true baseline 90 degrees, and
take the 1-degree histogram AUC of the larger error. They differ in the relative pose of i < j, for
world-to-camera E:

"vggt": E_i E_j^-1 (VGGT's later code, Pi3). A relative pose, free of gauge.
"da3": E_i^-1 E_j after E <- E E_0^-1 (PoseDiffusion's formula, right for its row vectors, applied
to column vectors: VGGT's first code, Depth Anything 3's benchmark). No relative pose: it depends on
which camera comes first, and calls the same cameras worse than they are.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from recon_eval.conventions.named import NamedResult
from recon_eval.pose.angles import direction_angle_degrees, rotation_angle_degrees
from recon_eval.pose.auc import auc_histogram, whole_degrees
from recon_eval.pose.cameras import check_rigs

PoseConvention = Literal["vggt", "da3"]


def evaluate_pose(
    predicted_world_to_camera: Float[Tensor, "v _ 4"],
    target_world_to_camera: Float[Tensor, "v _ 4"],
    *,
    convention: PoseConvention,
    thresholds: Sequence[int | float] = (3, 5, 15, 30),
) -> NamedResult:
    """Return `auc30`, `rra30`, `rta30` and their like of one scene under a published convention."""
    if convention not in get_args(PoseConvention):
        known = ", ".join(get_args(PoseConvention))
        raise ValueError(f"convention={convention!r}; it must be known: pass one of {known}")
    whole = whole_degrees(thresholds)
    rigs = check_rigs(predicted_world_to_camera, target_world_to_camera, at_least=2)
    pose, truth = (_relative(cameras.double(), convention) for cameras in rigs)
    rotation = rotation_angle_degrees(truth[:, :3, :3], pose[:, :3, :3])
    angle = direction_angle_degrees(pose[:, :3, 3], truth[:, :3, 3])
    angle = torch.minimum(angle, 180 - angle).nan_to_num(90.0)
    worst = torch.maximum(rotation, angle)
    values = {f"auc{k}": auc_histogram(worst, k) for k in whole}
    for name, errors in (("rra", rotation), ("rta", angle)):
        values |= {f"{name}{k}": float((errors < k).double().mean()) for k in whole}
    facts: dict[str, object] = {"alignment": "none", "pairs": len(worst)}
    return NamedResult(protocol=f"{convention}/pose", values=values, facts=facts)


def _relative(cameras: Tensor, convention: PoseConvention) -> Tensor:
    row = cameras.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(cameras), 1, 4)
    e = torch.cat([cameras, row], dim=1)
    i, j = torch.combinations(torch.arange(len(e), device=e.device)).T
    if convention == "vggt":
        return e[i] @ torch.linalg.inv(e[j])
    e = e @ torch.linalg.inv(e[0])
    return torch.linalg.inv(e[i]) @ e[j]
