"""Buffers that change are part of a run, and of its last whole step."""

import contextlib
import dataclasses

import pytest
import torch

from distill import distill
from distill.resume.checkpoint import list_checkpoints, load_checkpoint

from .runs import CONFIG, PAIRS, Acting, same, steps, trainee


def test_a_changed_buffer_is_remembered(models, batches, tmp_path):
    class Counting(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.register_buffer("largest", torch.zeros(()), persistent=False)
            self.register_buffer("table", torch.arange(5.0))

        def forward(self, x):
            self.largest = torch.maximum(self.largest, x.abs().max())
            return self.inner(x * (1 + 0.01 * self.largest))

    def counting(stop=None):
        teacher, student = trainee(models)
        student.blocks[0] = Counting(student.blocks[0])
        pairs = [dataclasses.replace(PAIRS[2]), dataclasses.replace(PAIRS[1])]

        def act(step):
            if step == stop:
                raise KeyError

        with contextlib.suppress(KeyError):
            distill(
                student,
                teacher,
                batches,
                pairs=pairs,
                config=CONFIG,
                directory=tmp_path if stop is not None else None,
                reporter=Acting(act),
            )
        return student

    whole = counting()
    assert whole.blocks[0].largest > 0
    counting(stop=2)
    tensors = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[-1]).tensors
    assert "buffer/blocks.0.largest" in tensors and "buffer/blocks.0.table" not in tensors
    resumed = counting(stop=99)
    assert same(whole, resumed) and torch.equal(whole.blocks[0].largest, resumed.blocks[0].largest)


class Largest(torch.nn.Module):
    """Replaces its buffer in every pass, where a batch norm overwrites its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", None)

    def forward(self, x):
        if not hasattr(self, "places"):
            self.register_buffer("places", torch.arange(x.shape[1]), persistent=False)
        seen = x.detach().abs().max()
        self.seen = seen if self.seen is None else torch.maximum(self.seen, seen)
        return x


@pytest.mark.parametrize("breaks_at", [8, 9])
def test_an_error_within_a_step_leaves_the_buffers_of_the_last_whole_one(
    models, batches, tmp_path, breaks_at
):
    config = dataclasses.replace(CONFIG, steps=8, accumulation=2)

    def run(breaks_at=None, directory=None):
        teacher, student = trainee(models)
        student.head = torch.nn.Sequential(Largest(), torch.nn.BatchNorm1d(6), student.head)
        growing = [batch * (1 + index) for index, batch in enumerate(batches * 4)]

        def forward(model, index):
            outputs = model(growing[index])
            if index == breaks_at and model is student:
                raise MemoryError
            return outputs

        with contextlib.suppress(MemoryError):
            distill(
                student,
                teacher,
                range(16),
                pairs=PAIRS,
                config=config,
                forward=forward,
                directory=directory,
            )
        return student.state_dict()

    whole, _ = run(), run(breaks_at, tmp_path)
    assert steps(tmp_path)[-1] == 4  # of two batches each
    resumed = run(directory=tmp_path)
    assert whole.keys() == resumed.keys() and "head.0.seen" in whole
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_sessions_with_one_student_leave_what_others_read(models, batches, tmp_path):
    class Stop(Exception):
        pass

    def begin():
        teacher, student = trainee(models)
        student.head = torch.nn.Sequential(Largest(), torch.nn.BatchNorm1d(6), student.head)
        return teacher, student

    def go(teacher, student, stop=None, **options):
        calls = []

        def forward(model, batch):
            calls.append(model)
            outputs = model(batch)
            if len(calls) == stop:
                raise Stop
            return outputs

        with contextlib.suppress(Stop):
            distill(
                student, teacher, batches, pairs=PAIRS, config=CONFIG, forward=forward, **options
            )
        return student.state_dict()

    whole, first = go(*begin()), begin()
    for stop in (2, 11, 9):  # within the first step, and two later ones
        go(*first, stop=stop, directory=tmp_path)
    resumed = go(*begin(), directory=tmp_path)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
