"""Choosing what trains, and the report of it."""

import pytest

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


def test_a_pattern_that_matches_nothing_raises_with_the_closest_names(models):
    _, student = models()
    with pytest.raises(
        ValueError, match=r"'blocks.0.attn.proj_k.bias'.*'blocks.0.attn.proj_l.bias"
    ):
        freeze_except(student, ["head.*", "blocks.0.attn.proj_k.bias"])
    with pytest.raises(ValueError, match="no patterns"):
        freeze_except(student, [])


def test_nothing_trainable_raises(models):
    _, student = models()
    student.requires_grad_(False)
    with pytest.raises(ValueError, match=r"Nothing is trainable.*freeze_except"):
        trainable_report(student)
