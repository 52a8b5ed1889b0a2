"""What each preset trains, and low-rank updates that merge without a trace."""

import copy

import pytest
import torch
from torch import nn

from distill import DistillConfig, Pair, Quiet, add_lora, distill, merge_lora, train_only


class Heard(Quiet):
    def started(self, start):
        self.start = start


SITES = [f"blocks.{i}.attn" for i in range(3)]
PAIRS = [Pair(teacher=name, student=name) for name in SITES]


def test_presets_train_what_they_say(models):
    _, student = models()
    names = {name for name, _ in student.named_parameters()}
    proj = set(train_only(student, "proj").shapes)
    assert proj == {name for name in names if ".proj_l." in name}
    assert set(train_only(student, "attn", sites=SITES).shapes) == {
        name for name in names if ".attn." in name
    }
    gains = set(train_only(student, "gains", sites=[SITES[0], SITES[2]]).shapes)
    inside = ("blocks.0.", "blocks.1.", "blocks.2.")  # the one between them too
    parameters = student.named_parameters()
    assert gains == {n for n, p in parameters if p.ndim == 1 and n.startswith(inside)}
    assert set(train_only(student, "gains", sites=SITES[1:2]).shapes) < gains
    assert any(name.startswith("blocks.1.") for name in gains)
    assert set(train_only(student, "all").shapes) == names
    lora = set(train_only(student, "lora", sites=SITES, rank=2).shapes)
    updates = {
        f"{site}.{layer}.parametrizations.weight.0.{part}"
        for site in SITES
        for layer in ("qkv", "proj")
        for part in ("up", "down")
    }
    assert lora == proj | updates
    _, bare = models()
    alone = set(train_only(bare, "lora", sites=SITES, projection=None, rank=2).shapes)
    projections = {name for name in alone if ".proj_l." in name}
    assert alone - projections == updates
    assert all(".parametrizations." in name for name in projections)


def test_presets_refuse_what_they_cannot_do(models):
    _, student = models()
    with pytest.raises((ValueError, TypeError), match="head"):
        train_only(student, "head")
    with pytest.raises(ValueError, match="needs the names of the attention modules"):
        train_only(student, "lora")
    with pytest.raises(ValueError, match="needs the names of the attention modules"):
        train_only(student, "gains")
    with pytest.raises(ValueError, match=r"'blocks.7.attn'.*closest"):
        train_only(student, "attn", sites=["blocks.7.attn"])
    with pytest.raises(ValueError, match="matches no parameter"):
        train_only(student, "proj", projection="*.proj_m.*")
    with pytest.raises(ValueError, match="projection=None"):
        train_only(student, "proj", projection=None)


def test_an_update_changes_nothing_until_it_trains(models, batches):
    teacher, _ = models()
    student = copy.deepcopy(teacher)
    with torch.no_grad():  # as in code that loads a student
        add_lora(student, "*.qkv", rank=2)
    assert torch.equal(student(batches[0])["tokens"], teacher(batches[0])["tokens"])


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_is_bit_equal_and_leaves_no_trace(models, batches, dtype, autocast):
    _, student = models()
    names = set(student.state_dict())
    student.to(dtype)
    layers = add_lora(student, ["*.qkv", "*.proj"], rank=3, scale=0.5)
    for name, parameter in student.named_parameters():
        if name.endswith(".up"):
            nn.init.normal_(parameter)
    x = batches[0].to(dtype)
    precision = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
    with precision:
        before = student(x)["tokens"]
    assert merge_lora(student) == layers
    with precision:
        assert torch.equal(student(x)["tokens"], before)
    assert set(student.state_dict()) == names
    assert all(type(student.get_submodule(name)) is nn.Linear for name in layers)


def test_merging_leaves_a_teacher_that_shares_the_weights_as_it_was(models):
    teacher, _ = models()
    teacher.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in teacher.named_parameters()}
    student = copy.deepcopy(teacher, memo={id(p): p for p in teacher.parameters()})
    add_lora(student, "*.qkv", rank=2)
    for name, parameter in student.named_parameters():
        if name.endswith(".up"):
            nn.init.normal_(parameter)
    merge_lora(student)
    assert all(torch.equal(p, before[name]) for name, p in teacher.named_parameters())
    assert not torch.equal(student.blocks[0].attn.qkv.weight, teacher.blocks[0].attn.qkv.weight)
    assert student.head.weight is teacher.head.weight


def test_lora_learns_and_leaves_the_frozen_weights(models, batches):
    teacher, student = models()
    train_only(student, "lora", sites=SITES, rank=2)
    frozen = {n: p.detach().clone() for n, p in student.named_parameters() if not p.requires_grad}
    config = DistillConfig(steps=60, learning_rate=1e-2)
    heard = Heard()
    result = distill(student, teacher, batches, pairs=PAIRS, config=config, reporter=heard)
    assert (heard.start.equal, heard.start.different, heard.start.unmatched) == (20, 0, 0)
    assert result.losses["loss"] < 0.6 * result.history[0]["losses"]["loss"]
    assert all(torch.equal(student.get_parameter(n), p) for n, p in frozen.items())


class Rounded(nn.Linear):
    """Rounds its weight in each forward, and passes gradients straight through."""

    def forward(self, x):
        coarse = (self.weight * 16).round() / 16
        return nn.functional.linear(x, self.weight + (coarse - self.weight).detach(), self.bias)


class RoundedOnce(nn.Linear):
    """Computes with a copy that was rounded when it was made."""

    def forward(self, x):
        return nn.functional.linear(x, self.rounded, self.bias)


def test_lora_trains_what_rounded_layers_compute_with(models, batches):
    teacher, student = models()
    for block in student.blocks:
        block.attn.qkv.__class__ = Rounded
    names = set(student.state_dict())
    train_only(student, "lora", sites=SITES, rank=2)
    config = DistillConfig(steps=40, learning_rate=1e-2)
    result = distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert result.losses["loss"] < 0.8 * result.history[0]["losses"]["loss"]
    before = student(batches[0])["tokens"]
    merge_lora(student)
    assert torch.equal(student(batches[0])["tokens"], before)
    assert set(student.state_dict()) == names
    assert all(type(block.attn.qkv) is Rounded for block in student.blocks)


def test_lora_refuses_layers_that_compute_with_a_copy(models):
    _, student = models()
    layer = student.blocks[1].attn.qkv
    layer.__class__, layer.rounded = RoundedOnce, layer.weight.detach().round()
    before = {name: p.requires_grad for name, p in student.named_parameters()}
    with pytest.raises(ValueError, match=r"'blocks.1.attn.qkv'.*would not see an update"):
        train_only(student, "lora", sites=SITES)
    assert {name: p.requires_grad for name, p in student.named_parameters()} == before
    del layer._parameters["weight"]
    with pytest.raises(ValueError, match="would not see an update"):
        add_lora(student, "blocks.1.attn.qkv")


def test_lora_refuses_bad_input(models):
    _, student = models()
    with pytest.raises(ValueError, match=r"pattern='\*.qvk'; it matches no linear layer"):
        add_lora(student, "*.qvk")
    with pytest.raises(ValueError, match="rank=0; it must be at least 1"):
        add_lora(student, "*.qkv", rank=0)
    with pytest.raises(ValueError, match="no low-rank update"):
        merge_lora(student)
    add_lora(student, "blocks.0.attn.qkv")
    with pytest.raises(ValueError, match="already"):
        add_lora(student, "*.qkv")
