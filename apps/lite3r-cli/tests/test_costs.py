"""What a call of a student costs: every layer and attention of it is counted."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import fp8_qat
from lite3r.bench.costs import compare_costs
from lite3r.student.compose import lighten
from lite3r.student.recipes import tiles
from recon_backbones import load_backbone
from recon_eval import efficiency


def count(fn: Callable[[], object]) -> int:
    return efficiency.count_flops(fn)


@pytest.mark.parametrize(
    "backend",
    [None, "reference", "weight_only", pytest.param("scaled_mm", marks=pytest.mark.multiplies)],
)
def test_an_fp8_layer_costs_what_a_plain_one_does(backend: str | None) -> None:
    model = nn.Sequential(nn.Linear(32, 48)).requires_grad_(False)
    x = torch.randn(10, 32)
    plain = count(lambda: model(x))
    fp8_qat.prepare(model, fp8_qat.recipes.rowwise())
    if backend is not None:
        fp8_qat.convert(model, backend=backend)
    assert count(lambda: model(x)) == plain == 2 * 10 * 32 * 48


def test_costs_of_a_student_count_its_attention() -> None:
    teacher = load_backbone("da3-tiny", weights="random").eval()
    images = torch.rand(1, 2, 3, 84, 84)
    models = {"teacher": teacher}
    for name, keep in (("light", 0.1), ("full", 1.0)):
        recipe = replace(tiles(), fp8="none", keep=keep, estimator="mean")
        models[name] = lighten(teacher, recipe).backbone
    costs = compare_costs(models, images, repeats=1, device="cpu")
    flops = {name: cost.flops for name, cost in costs.items()}
    with torch.inference_mode():
        assert flops["teacher"] == count(lambda: teacher(images))
    assert 0.5 * flops["teacher"] < flops["light"] < flops["full"]
