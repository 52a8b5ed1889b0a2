"""Compare a student with its teacher before the first step."""

import torch
from torch import nn

from distill.freeze import TrainableReport
from distill.reporter import Start
from distill.state import trainable_parameters
from distill.world import World


def describe_start(
    student: nn.Module,
    teacher: nn.Module,
    trainable: TrainableReport,
    *,
    step: int,
    steps: int,
) -> Start:
    """Count the student's frozen parameters that equal the teacher's of the same name."""
    theirs, trained = dict(teacher.named_parameters()), trainable_parameters(student)
    frozen = {
        name.replace(".parametrizations.weight.original", ".weight"): parameter
        for name, parameter in student.named_parameters()
        if name not in trained
    }
    shared = {name: p for name, p in frozen.items() if name in theirs}
    equal = sum(_equal(p, theirs[name]) for name, p in shared.items())
    return Start(
        step=step,
        steps=steps,
        trainable=trainable,
        equal=equal,
        different=len(shared) - equal,
        unmatched=len(frozen) - len(shared),
        processes=World.current().size,
    )


def _equal(one: nn.Parameter, other: nn.Parameter) -> bool:
    if one is other:
        return True
    return one.shape == other.shape and torch.equal(one, other.to(one.device, one.dtype))
