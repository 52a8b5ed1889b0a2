"""Compare a student with its teacher before the first step."""

from dataclasses import dataclass

import torch
from torch import nn

from distill.trainable.freeze import trainable_parameters


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How many frozen parameters of a student are its teacher's.

    - `equal`: equal to the teacher's of the same name.
    - `different`: different from it.
    - `unmatched`: the teacher has none of that name.
    """

    equal: int
    different: int
    unmatched: int


def compare_weights(student: nn.Module, teacher: nn.Module) -> Likeness:
    """Count the student's frozen parameters that equal the teacher's of the same name."""
    theirs, trained = dict(teacher.named_parameters()), trainable_parameters(student)
    frozen = {
        name.replace(".parametrizations.weight.original", ".weight"): parameter
        for name, parameter in student.named_parameters()
        if name not in trained
    }
    shared = {name: p for name, p in frozen.items() if name in theirs}
    equal = sum(_equal(p, theirs[name]) for name, p in shared.items())
    return Likeness(equal=equal, different=len(shared) - equal, unmatched=len(frozen) - len(shared))


def _equal(one: nn.Parameter, other: nn.Parameter) -> bool:
    if one is other:
        return True
    return one.shape == other.shape and torch.equal(one, other.to(one.device, one.dtype))
