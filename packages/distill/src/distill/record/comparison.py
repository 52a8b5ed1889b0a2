"""The loss of paired modules, from the tensors that were recorded in them."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from distill.record.losses import LossName, find_loss
from distill.record.pairs import Pair, Tap
from distill.record.recorder import Records


def pair_losses(
    pairs: Iterable[Pair], loss: LossName, student: Records, teacher: Records
) -> dict[Pair, Float[Tensor, ""]]:
    """Return the unweighted loss of every pair from recorded tensors.

    A module that runs several times in a pass is compared call by call; the mean counts.
    """
    compare = find_loss(loss)
    losses = {}
    for pair in pairs:
        seen = _tensors(student, pair.student_tap)
        aims = _tensors(teacher, pair.teacher_tap)
        _check(pair, seen, aims)
        each = [compare(one, other) for one, other in zip(seen, aims, strict=True)]
        losses[pair] = each[0] if len(each) == 1 else torch.stack(each).mean()
    return losses


def weighted_mean(losses: Mapping[Pair, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Return the mean of the losses, each with the weight of its pair."""
    total = sum(pair.weight for pair in losses)
    return torch.stack([loss * (pair.weight / total) for pair, loss in losses.items()]).sum()


def _tensors(records: Records, tap: Tap) -> list[Tensor]:
    if tap not in records:
        raise ValueError(
            f"module={tap.module!r}; nothing was recorded for it: run both models in their passes"
        )
    return records[tap]


def _check(pair: Pair, student: list[Tensor], teacher: list[Tensor]) -> None:
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (teacher, student)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"teacher={pair.teacher!r}, student={pair.student!r}; their {pair.at}s must be alike, "
            f"and have shapes {shapes[0]} and {shapes[1]} (one for each call): pair modules that "
            "put out the same"
        )
