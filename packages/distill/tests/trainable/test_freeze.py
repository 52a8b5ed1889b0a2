"""Choosing what trains, and the report of it."""

import pytest
from safetensors.torch import save_file
from torch import nn

from distill import freeze_except, trainable_report


def test_only_matching_parameters_train(models):
    _, student = models()
    student.head.weight.grad = student.head.weight.detach().clone()
    report = freeze_except(student, ["*.proj_l.weight", "head.*"])
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    layers = {f"blocks.{i}.attn.proj_l.weight" for i in range(3)}
    assert trained == layers | {"head.weight", "head.bias"} == set(report.shapes)
    assert all(p.grad is None for p in student.parameters())
    assert report.trainable == 3 * 64 + 9 and report.bytes == 4 * report.trainable
    assert report.total == sum(p.numel() for p in student.parameters())
    assert "201 of 1,305 parameters train (15.4 %" in str(report)
    assert freeze_except(student, "*.proj_l.weight").trainable == 3 * 64


@pytest.mark.parametrize("pattern", ["head.*", "*.0.weight"])
def test_a_tied_parameter_trains_by_any_of_its_names(pattern):
    model = nn.ModuleDict({"embed": nn.Embedding(6, 4), "head": nn.Sequential(nn.Linear(4, 6))})
    model["head"][0].weight = model["embed"].weight
    assert "embed.weight" in freeze_except(model, pattern).shapes
    assert model["head"][0].weight.requires_grad


def test_a_pattern_that_matches_nothing_raises_with_the_closest_names(models):
    _, student = models()
    with pytest.raises(
        ValueError, match=r"'blocks.0.attn.proj_k.bias'.*'blocks.0.attn.proj_l.bias"
    ):
        freeze_except(student, ["head.*", "blocks.0.attn.proj_k.bias"])
    with pytest.raises(ValueError, match=r"patterns=\[\]; choosing a parameter"):
        freeze_except(student, [])


def test_nothing_trainable_raises(models):
    _, student = models()
    student.requires_grad_(False)
    with pytest.raises(ValueError, match=r"nothing is trainable.*freeze_except"):
        trainable_report(student)


@pytest.mark.parametrize(
    ("widths", "limit"),
    [({64: 72, 128: 4}, 1.5e6), ({64: 24}, 0.6e6)],
    ids=["VGGT-1B", "DA3-Large"],
)
def test_the_adapter_of_the_projections_is_small(widths, limit, tmp_path):
    """One square projection with a bias for each attention, as wide as its heads."""
    model = nn.ModuleDict({"frozen": nn.Linear(2048, 2048)})
    for width, count in widths.items():
        for number in range(count):
            model[f"site-{width}-{number}"] = nn.ModuleDict({"proj_l": nn.Linear(width, width)})
    report = freeze_except(model, "*.proj_l.*")
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    save_file(trained, tmp_path / "adapter.safetensors")
    size = (tmp_path / "adapter.safetensors").stat().st_size
    assert report.bytes <= size <= limit
    assert report.trainable == sum(count * (w * w + w) for w, count in widths.items())
