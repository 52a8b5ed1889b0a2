"""Broken updates are left out, said, and do not disturb a resume."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from distill import DistillConfig, Diverged, GuardConfig, Pair, Quiet, distill, freeze_except
from distill.step.guard import find_fault

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(
    steps=20,
    learning_rate=1e-2,
    checkpoint_every=4,
    ema_decay=0.9,
    guard=GuardConfig(history=8),
)


class Sick:
    """Good batches, but for some that the student's forward turns into nonsense."""

    def __init__(self, batches, sick, factor):
        self._batches, self._sick, self._factor = batches, sick, factor

    def at(self, index):
        batch = self._batches[index % len(self._batches)]
        return batch, self._factor if index in self._sick else 1.0


def forward(model, batch):
    tokens, factor = batch
    return model(tokens * factor if model.training else tokens)


class Listener(Quiet):
    def __init__(self, act=None):
        self.warnings, self.act = [], act

    def warned(self, text):
        self.warnings.append(text)

    def stepped(self, record):
        if self.act:
            self.act(record.step)


def trainee(models):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    return teacher, student


def weights(student):
    return [p.detach().clone() for p in student.parameters()]


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e3])
def test_a_broken_update_goes_back_to_the_snapshot(models, batches, factor):
    teacher, student = trainee(models)
    seen, listener = {}, Listener()
    listener.act = lambda step: seen.update({step: weights(student)})
    source = Sick(batches, {10}, factor)
    result = distill(
        student, teacher, source, pairs=PAIRS, config=CONFIG, forward=forward, reporter=listener
    )
    assert result.rollbacks == 1 and result.steps == 20
    assert all(p.isfinite().all() for p in student.parameters())
    assert all(torch.equal(a, b) for a, b in zip(seen[8], seen[11], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(seen[8], seen[10], strict=True))
    assert len(listener.warnings) == 1
    assert (
        "Step 11: the" in listener.warnings[0] and "state of step 8 is back" in listener.warnings[0]
    )
    assert [e["step"] for e in result.history if e["kind"] == "rollback"] == [11]


@pytest.mark.parametrize("stop", [3, 9, 11, 12, 15])
def test_a_run_with_rollbacks_resumes_bit_equal(models, batches, tmp_path, stop):
    source = Sick(batches, {2, 9, 10, 13}, math.nan)
    options = {"pairs": PAIRS, "config": CONFIG, "forward": forward}
    teacher, whole = trainee(models)
    distill(whole, teacher, source, **options)

    def die(step):
        if step == stop:
            raise KeyError

    _, student = trainee(models)
    options["directory"] = tmp_path
    with pytest.raises(KeyError):
        distill(student, teacher, source, reporter=Listener(die), **options)
    _, student = trainee(models)
    assert distill(student, teacher, source, **options).rollbacks == 4
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(student), strict=True))


class Centered(nn.Module):
    """Takes the mean of the first tokens that it sees from all that follow."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", None)

    def forward(self, x):
        if self.mean is None:
            self.mean = x.detach().mean((0, 1))
        return x - self.mean


def test_statistics_that_a_broken_first_step_filled_are_filled_anew(models, batches):
    teacher, student = trainee(models)
    for model in (teacher, student):
        model.head = nn.Sequential(Centered(), model.head)
    source = Sick(batches, {0}, math.nan)
    result = distill(student, teacher, source, pairs=PAIRS, config=CONFIG, forward=forward)
    assert result.rollbacks == 1
    assert student.head[0].mean.isfinite().all()


def test_too_many_rollbacks_stop_the_run(models, batches, tmp_path):
    teacher, student = trainee(models)
    source = Sick(batches, set(range(9, 99)), math.nan)
    with pytest.raises(Diverged, match=r"rollbacks=4; 3 to the same state are allowed"):
        distill(
            student,
            teacher,
            source,
            pairs=PAIRS,
            config=CONFIG,
            forward=forward,
            directory=tmp_path,
        )
    assert all(p.isfinite().all() for p in student.parameters())


def test_without_a_guard_nothing_is_held_back(models, batches):
    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, guard=None)
    source = Sick(batches, {10}, math.nan)
    result = distill(student, teacher, source, pairs=PAIRS, config=config, forward=forward)
    assert result.rollbacks == 0
    assert not all(p.isfinite().all() for p in student.parameters())


def test_what_counts_as_a_fault():
    config, recent = GuardConfig(spike=10.0, history=8), [1.0, 2.0, 3.0]
    assert find_fault(config, recent, 19.0, 1.0) is None
    assert "10 times the recent median 2" in str(find_fault(config, recent, 21.0, 1.0))
    assert find_fault(config, [1.0], 1e9, 1.0) is None
    assert find_fault(config, [0.0] * 8, 1e-9, 1.0) is None
    assert "loss is nan" in str(find_fault(config, [], math.nan, 1.0))
    assert "gradient norm is inf" in str(find_fault(config, [], 1.0, math.inf))
