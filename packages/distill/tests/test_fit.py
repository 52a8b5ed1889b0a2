"""Projections that are solved for are the least-squares solution, and training agrees."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from distill import (
    DistillConfig,
    Fit,
    Pair,
    add_lora,
    distill,
    fit_projections,
    freeze_except,
    merge_lora,
)

PAIRS = [Pair(teacher=f"blocks.{i}.attn.mix", student=f"blocks.{i}.attn.mix") for i in range(3)]
FITS = [Fit(pair=pair, layer=f"{pair.student}.proj_l") for pair in PAIRS]


class Mix(nn.Module):
    """A sparse part plus a projected linear part, as sparse linear attention has them."""

    def __init__(self, width, sharpness):
        super().__init__()
        self.proj_l, self.sharpness = nn.Linear(width, width), sharpness
        nn.init.zeros_(self.proj_l.weight)
        nn.init.zeros_(self.proj_l.bias)

    def forward(self, q, k, v, *, scale=1.0):
        weights = (self.sharpness * scale * q @ k.transpose(-1, -2)).softmax(-1)
        return weights @ v + self.proj_l(v.tanh())


class Attention(nn.Module):
    def __init__(self, width, sharpness):
        super().__init__()
        self.qkv, self.mix = nn.Linear(width, 3 * width), Mix(width, sharpness)

    def forward(self, x):
        return self.mix(*self.qkv(x).chunk(3, -1), scale=0.5)


@pytest.fixture
def attentive(models):
    teacher, student = models()
    for model, sharpness in ((teacher, 2.0), (student, 0.2)):
        for block in model.blocks:
            qkv = block.attn.qkv
            block.attn = Attention(8, sharpness)
            block.attn.qkv = qkv
    return teacher, student


def error(student, teacher, batches, name):
    outputs = []
    for model in (student, teacher):
        module, seen = model.get_submodule(name), []
        handle = module.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
        for batch in batches:
            model(batch)
        handle.remove()
        outputs.append(torch.stack(seen).double())
    return ((outputs[0] - outputs[1]).square().sum() / outputs[1].square().sum()).item()


def test_the_solution_of_the_first_layer_is_least_squares(attentive, batches):
    teacher, student = attentive
    before = error(student, teacher, batches, "blocks.0.attn.mix")
    (result,) = fit_projections(student, teacher, batches, FITS[:1], count=4, ridge=0.0)
    after = error(student, teacher, batches, "blocks.0.attn.mix")
    assert result.layer == "blocks.0.attn.mix.proj_l"
    assert result.before == pytest.approx(before, rel=1e-4)
    assert result.after == pytest.approx(after, rel=1e-4)
    assert after < 0.8 * before
    layer = student.blocks[0].attn.mix.proj_l
    for parameter in layer.parameters():  # no small step leads lower
        for _ in range(5):
            step = 1e-2 * torch.randn_like(parameter)
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(step, alpha=sign)
                assert error(student, teacher, batches, "blocks.0.attn.mix") > after
                with torch.no_grad():
                    parameter.add_(step, alpha=-sign)


def test_every_layer_is_solved_on_what_the_layers_before_it_lead_to(attentive, batches):
    teacher, student = attentive
    names = [pair.student for pair in PAIRS]
    before = [error(student, teacher, batches, name) for name in names]
    results = fit_projections(student, teacher, batches, FITS, count=4)
    after = [error(student, teacher, batches, name) for name in names]
    assert [result.after for result in results] == pytest.approx(after, rel=1e-3)
    assert all(a < b for a, b in zip(after, before, strict=True))
    assert not any(m._forward_hooks for m in student.modules())


def test_training_goes_on_from_the_solution(attentive, batches):
    teacher, student = attentive
    freeze_except(student, "*.proj_l.*")
    fit_projections(student, teacher, batches, FITS, count=4)
    config = DistillConfig(steps=40, learning_rate=1e-3)
    result = distill(student, teacher, batches, pairs=PAIRS, config=config)
    first = result.history[0]["losses"]["loss"]
    assert result.losses["loss"] < 1.05 * first


def test_bad_input_is_refused(attentive, batches):
    teacher, student = attentive
    with pytest.raises(ValueError, match="square"):
        wrong = dataclasses.replace(FITS[0], layer="blocks.0.attn.qkv")
        fit_projections(student, teacher, batches, [wrong], count=1)
    with pytest.raises(ValueError, match="both must be at least 1"):
        fit_projections(student, teacher, batches, FITS, count=0)
    with pytest.raises(ValueError, match=r"module='blocks.0.attn.mix.proj_k'; the student"):
        wrong = dataclasses.replace(FITS[0], layer="blocks.0.attn.mix.proj_k")
        fit_projections(student, teacher, batches, [wrong], count=1)
    pair = Pair(teacher="blocks.1", student="blocks.1")
    with pytest.raises(ValueError, match="is not a base plus"):
        wrong = Fit(pair=pair, layer="blocks.1.mlp")
        fit_projections(student, teacher, batches, [wrong], count=1)
    assert not any(m._forward_hooks for model in (teacher, student) for m in model.modules())


def test_a_layer_that_is_the_teachers_too_is_refused_and_stays(attentive, batches):
    teacher, student = attentive
    student.blocks[1].attn.mix.proj_l = teacher.blocks[1].attn.mix.proj_l
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=r"layer='blocks\.1.*; it is a layer of the teacher too"):
        fit_projections(student, teacher, batches, FITS, count=2)
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_a_strong_ridge_leaves_a_layer_as_it_was(attentive, batches):
    teacher, student = attentive
    layer = student.blocks[0].attn.mix.proj_l
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=0.1)
    before = layer.weight.clone()
    (result,) = fit_projections(
        student, teacher, batches, FITS[:1], count=4, ridge=1e9, start="as_is"
    )
    torch.testing.assert_close(layer.weight, before, rtol=0, atol=1e-6)
    assert result.after == pytest.approx(result.before, rel=1e-4)


def test_where_the_data_decide_the_start_does_not_matter(attentive, batches):
    teacher, student = attentive
    layer = student.blocks[0].attn.mix.proj_l
    found = []
    for start in ("zero", "as_is"):
        nn.init.normal_(layer.weight, std=0.1)
        fit_projections(student, teacher, batches, FITS[:1], count=4, ridge=0.0, start=start)
        found.append(layer.weight.detach().clone())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_from_a_start_the_error_falls(attentive, batches):
    teacher, student = attentive
    layer = student.blocks[0].attn.mix.proj_l
    nn.init.normal_(layer.weight, std=0.1)
    before = error(student, teacher, batches, "blocks.0.attn.mix")
    (result,) = fit_projections(
        student, teacher, batches, FITS[:1], count=4, ridge=0.1, start="as_is"
    )
    assert result.before == pytest.approx(before, rel=1e-4)
    assert result.after == pytest.approx(
        error(student, teacher, batches, "blocks.0.attn.mix"), rel=1e-4
    )
    assert result.after < before


def test_layers_are_solved_for_also_where_forward_runs_under_autocast(attentive, batches):
    teacher, student = attentive

    def forward(model, batch):
        with torch.autocast("cpu", torch.bfloat16):  # keeps a copy of what the layer was
            return model(batch)

    (result,) = fit_projections(student, teacher, batches, FITS[:1], count=4, forward=forward)
    (expected,) = fit_projections(student, teacher, batches, FITS[:1], count=4)
    assert student.get_submodule(FITS[0].layer).weight.any()
    assert result.after == pytest.approx(expected.after, rel=0.1)


def test_a_module_that_does_not_run_is_refused_and_keeps_its_layer(attentive, batches):
    teacher, student = attentive
    student.idle = Mix(8, 1.0)
    nn.init.ones_(student.idle.proj_l.weight)
    fit = Fit(pair=dataclasses.replace(PAIRS[0], student="idle"), layer="idle.proj_l")
    with pytest.raises(ValueError, match="student='idle'; it did not run in the pass"):
        fit_projections(student, teacher, batches, [fit], count=2)
    assert student.idle.proj_l.weight.eq(1).all()


class Halves(nn.Module):
    """Runs a module on each half of a batch."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat([self.inner(part) for part in x.chunk(2)])


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_modules_that_run_on_other_parts_of_a_batch_are_refused(attentive, batches, role):
    teacher, student = attentive
    model = {"teacher": teacher, "student": student}[role]
    model.blocks[0].attn = Halves(model.blocks[0].attn)
    names = {role: "blocks.0.attn.inner.mix"}
    pair = dataclasses.replace(PAIRS[0], **names)
    fit = Fit(pair=pair, layer=f"{pair.student}.proj_l")
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=r"teacher='blocks.*must be alike, and have shapes"):
        fit_projections(student, teacher, batches, [fit], count=2)
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_numbers_without_an_end_are_refused_and_leave_the_layer(attentive, batches):
    teacher, student = attentive
    batches[1][0, 0, 0] = torch.nan
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=r"student='blocks.0.attn.mix'; .* finite"):
        fit_projections(student, teacher, batches, FITS[:1], count=2)
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_a_layer_that_changes_nothing_is_refused_and_left(attentive, batches):
    teacher, student = attentive
    add_lora(student, "blocks.0.attn.mix.proj_l")
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=r"'blocks.0.attn.mix.proj_l' changes nothing of it"):
        fit_projections(student, teacher, batches, FITS[:1], count=2)
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())
    merge_lora(student)
    fit_projections(student, teacher, batches, FITS[:1], count=2)


def test_a_pair_of_inputs_is_refused(attentive, batches):
    teacher, student = attentive
    fit = dataclasses.replace(FITS[0], pair=dataclasses.replace(PAIRS[0], at="input"))
    with pytest.raises(ValueError, match="at='input' of the pair"):
        fit_projections(student, teacher, batches, [fit], count=2)


def test_modes_are_of_evaluation_and_left_as_they_were(attentive, batches):
    teacher, student = attentive
    results = []
    for training in (False, True):
        models = copy.deepcopy((student, teacher))
        for model in models:
            model.blocks[0].drop.p = model.blocks[1].drop.p = 0.5
            model.train(training)
        models[1].blocks[2].eval()
        results.append(fit_projections(*models, batches, FITS, count=4))
        assert models[0].training == models[1].blocks[0].drop.training == training
        assert not models[1].blocks[2].training
    assert results[0] == results[1]
