"""A batch is known by all that it holds, and is the same for both models and every epoch."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from distill import DistillConfig, Fit, Pair, TargetCache, distill, fit_projections
from distill.observe.parts import form

PAIR = Pair(teacher="0", student="0")


class Normalized(nn.Sequential):
    """Brings its input to mean and size, where it lies."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5).div_(0.25))


@pytest.mark.parametrize("at_fault", [(0,), (1,), (0, 1)])
def test_a_batch_that_a_model_overwrites_is_refused(at_fault):
    kinds = [Normalized if place in at_fault else nn.Sequential for place in (0, 1)]
    student, teacher = (kind(nn.Linear(4, 4)) for kind in kinds)
    options = {"pairs": [PAIR], "config": DistillConfig(steps=2)}
    with pytest.raises(ValueError, match="batch=Tensor; a model overwrote"):
        distill(student, teacher, [torch.rand(3, 4)], **options)
    with pytest.raises(ValueError, match="batch=dict; a model overwrote"):
        distill(
            student, teacher, [{"x": [torch.rand(3, 4)]}], forward=lambda m, b: m(b["x"][0]),
            **options,
        )  # fmt: skip
    with pytest.raises(ValueError, match="batch=Tensor; a model overwrote"):
        fit_projections(student, teacher, [torch.rand(3, 4)], [Fit(pair=PAIR, layer="0")], count=1)
    result = distill(
        student, teacher, [torch.rand(3, 4)], forward=lambda m, b: m(b.clone()), **options
    )
    assert result.stopped == "finished"


def test_a_batch_that_was_made_in_inference_mode_is_read():
    with torch.inference_mode():
        batch = torch.rand(3, 4)
    teacher, config = nn.Sequential(nn.Linear(4, 4)), DistillConfig(steps=2)
    result = distill(
        copy.deepcopy(teacher), teacher, [batch], pairs=[PAIR], config=config,
        forward=lambda m, b: m(b.clone()),
    )  # fmt: skip
    assert result.losses["loss"] == 0


@dataclass(slots=True)
class Slotted:
    x: Tensor


def test_a_batch_with_slots_is_known_by_what_they_hold(tmp_path):
    assert form(Slotted(torch.ones(2, 3))) == "[(2, 3)]"
    student, teacher = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    batches = [Slotted(torch.rand(3, 4)) for _ in range(2)]
    options = {"pairs": [PAIR], "config": DistillConfig(steps=2), "store": TargetCache(tmp_path)}
    distill(student, teacher, batches, forward=lambda m, b: m(b.x), **options)
    with pytest.raises(ValueError, match="are of another batch"):
        distill(student, teacher, batches[::-1], forward=lambda m, b: m(b.x), **options)
