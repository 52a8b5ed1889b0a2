"""Differences between what the student says and what the teacher says.

Every loss is exactly zero, with a gradient of exactly zero, where both are equal. Sums are
taken in float32 at least, whatever the inputs are.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from distill.record.checks import check_place, check_tensor

LossName = Literal["mse", "relative_mse", "cosine", "distance"]
FLAT = 1e-3  # of the mean length of tokens: distances well below it count by their square


def mse(student: Float[Tensor, "*shape"], teacher: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean squared difference (Lite3R, arXiv 2605.11354, partial attention loss)."""
    student, teacher = check_alike(student, teacher)
    return F.mse_loss(student, teacher)


def relative_mse(
    student: Float[Tensor, "*shape"], teacher: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Return the mean squared difference over the mean square of the teacher.

    Layers whose outputs differ in size then weigh the same.
    """
    student, teacher = check_alike(student, teacher)
    size = teacher.square().mean().clamp_min(torch.finfo(teacher.dtype).tiny)
    return F.mse_loss(student, teacher) / size


def cosine(
    student: Float[Tensor, "*tokens c"], teacher: Float[Tensor, "*tokens c"]
) -> Float[Tensor, ""]:
    """Return the mean of one minus the cosine between student and teacher, over the last axis.

    It is computed as half the squared distance between unit vectors: the same number, but
    exactly zero, in value and gradient, where both are equal.
    """
    student, teacher = check_alike(student, teacher)
    difference = F.normalize(student, dim=-1) - F.normalize(teacher, dim=-1)
    return 0.5 * difference.square().sum(-1).mean()


def distance(
    student: Float[Tensor, "*tokens c"], teacher: Float[Tensor, "*tokens c"]
) -> Float[Tensor, ""]:
    """Return the mean distance of tokens over the mean length of the teacher's.

    Unlike a mean of squares it is not ruled by the few tokens that are far off, so that what is
    learned of some scenes holds for others. It is smooth where both are equal.
    """
    student, teacher = check_alike(student, teacher)
    length = teacher.square().sum(-1).sqrt().mean().clamp_min(torch.finfo(teacher.dtype).tiny)
    off = ((student - teacher) / length).square().sum(-1)
    return (off / ((off + FLAT**2).sqrt() + FLAT)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "relative_mse": relative_mse,
    "cosine": cosine,
    "distance": distance,
}


def find_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss called `name`.

    Raises ValueError if the name is unknown; the message lists the known ones.
    """
    if name not in LOSSES:
        raise ValueError(f"loss={name!r}; it must be known: choose {', '.join(LOSSES)}")
    return LOSSES[name]


def check_alike(
    student: Float[Tensor, "..."], teacher: Float[Tensor, "..."]
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return both in the wider number format, float32 at least, the teacher detached.

    Raises ValueError if shapes or devices differ, or one is not of floating point; TypeError for
    what is no tensor.
    """
    check_tensor("student", student)
    check_tensor("teacher", teacher)
    check_place("teacher", teacher, "student", student)
    if student.shape != teacher.shape:
        raise ValueError(
            f"student={tuple(student.shape)}; it must have the teacher's shape, "
            f"{tuple(teacher.shape)}: compare tensors that are alike"
        )
    wide = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    return student.to(wide), teacher.detach().to(wide)
