"""Memory that runs out and a clock that jumps: no whole step is lost, and no number changes."""

import random
import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distill import DistillConfig, Pair, distill, freeze_except, read_journal
from distill.resume.checkpoint import list_checkpoints, load_checkpoint

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(steps=6, learning_rate=1e-2, checkpoint_every=2, keep_last=2)


class Exhausted(TorchDispatchMode):
    """No memory for the `first`th operation, and for none of the next ones where it `lasts`."""

    def __init__(self, first, *, lasts):
        super().__init__()
        self.first, self.lasts, self.count = first, lasts, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += 1
        if self.count == self.first or (self.lasts and self.count > self.first):
            raise torch.OutOfMemoryError("out of memory: tried to allocate 1 GB")
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def run(models, batches):
    def start(directory, *around):
        teacher, student = models()
        freeze_except(student, "*.proj_l.*")
        words = {"pairs": PAIRS, "config": CONFIG, "directory": directory}
        if around:
            with around[0]:
                distill(student, teacher, batches, **words)
        else:
            distill(student, teacher, batches, **words)
        return {n: p.tolist() for n, p in student.named_parameters() if p.requires_grad}

    return start


def test_memory_that_runs_out_anywhere_costs_no_whole_step(run, tmp_path, request):
    expected = run(None)
    whole = Exhausted(10**9, lasts=False)
    assert run(tmp_path / "whole", whole) == expected
    assert whole.count > 1000
    draw = random.Random(0)
    for point in range(max(4, request.config.getoption("--kill-points", default=12) // 4)):
        directory = tmp_path / f"run-{point}"
        with pytest.raises(torch.OutOfMemoryError, match="1 GB"):
            run(directory, Exhausted(draw.randint(1, whole.count), lasts=bool(point % 2)))
        for path in list_checkpoints(directory / "checkpoints"):
            load_checkpoint(path)
        assert run(directory) == expected
        assert not list(directory.rglob(".*partial"))


def test_a_clock_that_jumps_changes_no_number_and_loses_no_checkpoint(run, tmp_path, monkeypatch):
    expected = run(None)
    draw = random.Random(1)
    for name in ("time", "perf_counter", "monotonic"):
        monkeypatch.setattr(time, name, lambda: draw.uniform(-1e9, 1e9))
    assert run(tmp_path) == expected
    assert [path.name[-1] for path in list_checkpoints(tmp_path / "checkpoints")] == ["4", "6"]
    assert [entry["step"] for entry in read_journal(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]
