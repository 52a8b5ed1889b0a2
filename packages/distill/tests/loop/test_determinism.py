"""Generators and modes are those of the run alone; a deterministic run refuses what is not."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from distill import distill
from distill.resume.rng import isolated_rng, seed_all
from distill.step import determinism

from .runs import CONFIG, PAIRS, trainee


def test_generators_and_modes_are_left_as_they_were(models, batches):
    teacher, student = trainee(models, dropout=0.5)
    student.eval()
    teacher.train()
    np.random.seed(2), torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(())
    np.random.seed(2), torch.manual_seed(3)
    distill(student, teacher, batches, pairs=PAIRS, config=CONFIG)
    assert (np.random.rand(), torch.rand(())) == expected
    assert not any(m.training for m in student.modules())
    assert all(m.training for m in teacher.modules())


def test_every_generator_is_isolated_and_seeded():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = draw()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    drawn = []
    for place in (4, 5, 4):
        with isolated_rng():
            seed_all(0, place)
            drawn.append(draw())
    assert draw() == expected
    assert drawn[0] == drawn[2] and all(a != b for a, b in zip(*drawn[:2], strict=True))


def test_deterministic_mode_holds_during_the_run_only(models, batches):
    teacher, student = trainee(models)
    seen = []
    student.head.register_forward_hook(
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    config = dataclasses.replace(CONFIG, deterministic=True)
    distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert all(seen) and not torch.are_deterministic_algorithms_enabled()


def test_deterministic_mode_refuses_what_is_not(models, batches):
    def forward(model, batch):
        outputs = model(batch)
        assert torch.are_deterministic_algorithms_enabled()
        indices = torch.zeros(1, dtype=torch.long)
        if torch.is_grad_enabled():  # an operation that PyTorch lists as nondeterministic
            torch.empty(4).put_(indices, torch.ones(1), accumulate=False)
        return outputs

    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, deterministic=True)
    with pytest.raises(RuntimeError, match="deterministic"):
        distill(student, teacher, batches, pairs=PAIRS, config=config, forward=forward)
    assert not torch.are_deterministic_algorithms_enabled()


def refuse(device):
    assert torch.are_deterministic_algorithms_enabled()
    raise RuntimeError(
        "Deterministic behavior was enabled ..., you must set an environment variable before "
        "running your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or ..."
    )


def test_products_that_pytorch_would_refuse_are_refused_before_the_run(
    models, batches, tmp_path, monkeypatch
):
    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, deterministic=True)
    monkeypatch.setattr(determinism, "_cuda_devices", lambda *models: {torch.device("cuda", 1)})
    monkeypatch.setattr(determinism, "_multiply", refuse)
    told = r"deterministic=True on cuda:1; .*start again with CUBLAS_WORKSPACE_CONFIG=:4096:8"
    with pytest.raises(ValueError, match=told):
        distill(student, teacher, batches, pairs=PAIRS, config=config, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not torch.are_deterministic_algorithms_enabled()


def test_only_models_on_cuda_are_asked_for_products():
    here, there = nn.Linear(2, 2), nn.Module()
    with FakeTensorMode():
        there.weight = nn.Parameter(torch.empty(2, device="cuda"))
    assert determinism._cuda_devices(here) == set()
    assert determinism._cuda_devices(here, there) == {torch.device("cuda", 0)}
