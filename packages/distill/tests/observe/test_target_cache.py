"""Targets on disk: the teacher runs once, and the student does not notice."""

import copy
import dataclasses
import errno
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

from distill import (
    AttentionOutputs,
    Depth,
    DistillConfig,
    Features,
    Pair,
    Quiet,
    Rays,
    Shuffled,
    TargetCache,
    distill,
    freeze_except,
)
from distill.observe import target_cache
from distill.observe.target_cache import batch_fingerprint
from distill.observe.target_store import Targets
from distill.record.pairs import Tap

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(steps=12, learning_rate=1e-2)
OBJECTIVES = [AttentionOutputs(), Depth(confidence=None)]


def trainee(models):
    teacher, student = models(dropout=0.2)
    freeze_except(student, "*.proj_l.*")
    return teacher, student


def passes(model):
    count = []
    model.register_forward_hook(lambda *_: count.append(1))
    return count


def run(models, batches, store=None, config=CONFIG, objectives=OBJECTIVES, reporter=None):
    teacher, student = trainee(models)
    count = passes(teacher)
    distill(
        student,
        teacher,
        batches,
        pairs=PAIRS,
        objectives=objectives,
        config=config,
        held_out=list(torch.ones(2, 1, 6, 8)),
        store=store,
        reporter=reporter,
    )
    return student, len(count)


def same(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("shard_bytes", [1, 3000, 10**9])
def test_the_teacher_runs_once_for_each_batch(models, batches, tmp_path, shard_bytes):
    source = Shuffled(torch.cat(batches), batch_size=2, seed=1)
    plain, count = run(models, source)
    assert count == 12 + 2
    cached, count = run(models, source, TargetCache(tmp_path, shard_bytes=shard_bytes))
    assert count == 4 + 2
    again, count = run(models, source, TargetCache(tmp_path, shard_bytes=shard_bytes))
    assert count == 0
    assert same(plain, cached) and same(plain, again)
    assert len(list(tmp_path.glob("*.safetensors"))) == {1: 6, 3000: 2}.get(shard_bytes, 1)


def test_a_tensor_that_two_targets_are_is_kept_twice(models, batches, tmp_path):
    pairs = (Pair(teacher="blocks.2", student="blocks.2"),)  # whose output is the field "tokens"
    objectives = [AttentionOutputs(), Features(pairs=pairs), Rays(field="tokens", confidence=None)]
    plain, _ = run(models, batches, objectives=objectives)
    for count in (4 + 2, 0):
        cached, passes = run(models, batches, TargetCache(tmp_path), objectives=objectives)
        assert passes == count and same(plain, cached)


def test_targets_that_the_next_pass_overwrites_are_kept_as_they_were(tmp_path):
    held, store, tap = torch.zeros(100, 3), TargetCache(tmp_path), Tap("a")
    store.bind([tap], [], device="cpu", identity={})
    for number in (1, 2):
        held.fill_(number)
        store.save(str(number), held, Targets(records={tap: [held[:1]]}, fields={}))
    assert store.load("1", torch.ones(100, 3)).records[tap][0].untyped_storage().nbytes() == 12
    store.flush()
    for number in (1, 2):
        kept = store.load(str(number), torch.full((100, 3), float(number)))
        assert (kept.records[tap][0] == number).all()


def test_targets_of_something_else_are_refused(models, batches, tmp_path):
    run(models, batches, TargetCache(tmp_path))
    with pytest.raises(ValueError, match=r"fields.0: 'depth' in the run, 'absent' now"):
        run(models, batches, TargetCache(tmp_path), objectives=[AttentionOutputs()])
    config = dataclasses.replace(CONFIG, autocast="bfloat16")
    with pytest.raises(ValueError, match=r"autocast: None in the run, 'bfloat16' now"):
        run(models, batches, TargetCache(tmp_path), config=config)
    others = copy.deepcopy(batches)
    others[2] += 1
    with pytest.raises(ValueError, match=r"key='2'.*another batch"):
        run(models, others, TargetCache(tmp_path))


def test_targets_and_runs_of_a_teacher_with_other_buffers_are_refused(batches, tmp_path):
    def go(mean, **options):
        torch.manual_seed(0)
        teacher = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(6), nn.Linear(8, 8))
        student = copy.deepcopy(teacher)
        teacher[1].running_mean.fill_(mean)
        freeze_except(student, "2.*")
        pairs = [Pair(teacher="2", student="2")]
        return distill(student, teacher, batches, pairs=pairs, config=CONFIG, **options)

    for options in ({"store": TargetCache(tmp_path / "a")}, {"directory": tmp_path / "b"}):
        losses = go(0.0, **options).losses
        assert go(0.0, **options).losses == losses
        with pytest.raises(ValueError, match="teacher weights: "):
            go(5.0, **options)


def test_what_waits_when_a_run_fails_is_not_given_to_a_run_of_another_teacher(
    models, batches, tmp_path
):
    def fail(student):
        raise RuntimeError("an evaluation that fails")

    def go(scale, store=None, evaluate=None):
        teacher, student = trainee(models)
        teacher.head.weight.data.mul_(scale)
        options = {"pairs": PAIRS, "objectives": OBJECTIVES, "config": CONFIG, "store": store}
        return distill(student, teacher, batches, evaluate=evaluate, **options)

    store = TargetCache(tmp_path / "targets")
    with pytest.raises(RuntimeError, match="fails"):
        go(1.0, store, fail)
    with pytest.raises(ValueError, match="remove this one"):
        go(3.0, store)
    shutil.rmtree(tmp_path / "targets")
    assert go(3.0, store).losses == go(3.0).losses


@pytest.mark.parametrize("text", ["", "{", "[1]", "x" * 99])
def test_damaged_targets_are_named_and_may_be_removed(models, batches, tmp_path, text):
    run(models, batches, TargetCache(tmp_path, shard_bytes=1))
    names = sorted(path.name for path in tmp_path.iterdir())
    for name in names[:2]:  # shards, and others behind them
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}'; it is damaged .*: remove it, "):
            run(models, batches, TargetCache(tmp_path, shard_bytes=1))
        (tmp_path / name).unlink()
        run(models, batches, TargetCache(tmp_path, shard_bytes=1))
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        assert run(models, batches, TargetCache(tmp_path, shard_bytes=1))[1] == 0
    (tmp_path / "targets.json").write_text(text)
    with pytest.raises(ValueError, match=r"targets.json'; it is damaged .*: remove this directory"):
        run(models, batches, TargetCache(tmp_path, shard_bytes=1))


def test_a_source_without_keys_is_refused(models, batches, tmp_path):
    with pytest.raises(ValueError, match=r"batches=Streamed; .* needs `key\(index\)`"):
        run(models, iter(batches), TargetCache(tmp_path))


def test_a_batch_is_known_by_every_tensor_in_it():
    def batch(**changed):
        values = {"a": torch.ones(2, 3), "b": torch.zeros(4), "c": torch.arange(3)}
        values |= changed
        return {"images": values["a"], "more": [values["b"], (values["c"],)], "name": "x"}

    one = batch_fingerprint(batch())
    assert one == batch_fingerprint(batch())
    for changed in ({"a": torch.ones(3, 2)}, {"b": torch.ones(4)}, {"c": torch.arange(3.0)}):
        assert batch_fingerprint(batch(**changed)) != one

    class Held:
        def __init__(self, images):
            self.images = images

    assert batch_fingerprint(Held(torch.ones(2))) != batch_fingerprint(Held(torch.zeros(2)))


def test_a_batch_is_known_by_what_is_no_tensor(models, batches, tmp_path):
    def run(names):
        teacher, student = trainee(models)
        named = {str(number): batch for number, batch in enumerate(batches)}
        return distill(
            student,
            teacher,
            names,
            pairs=PAIRS,
            config=CONFIG,
            forward=lambda model, name: model(named[name]),
            store=TargetCache(tmp_path),
        )

    run(["0", "1", "2", "3"])
    with pytest.raises(ValueError, match=r"key='0'.*another batch"):
        run(["1", "0", "2", "3"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        (Path("a"), Path("b")),
        (1, 2),
        (b"a", b"b"),
        (numpy.zeros((9000, 2)), numpy.ones((9000, 2))),
        (numpy.zeros(4, "f4"), numpy.zeros(4, "f8")),
        (numpy.zeros((2, 3)), numpy.zeros((3, 2))),
        (numpy.array(["a", "b"]), numpy.array(["a", "c"])),
        (numpy.array(["a", None], object), numpy.array(["b", None], object)),
    ],
)
def test_what_is_no_tensor_has_a_digest(one, other):
    assert batch_fingerprint([one]) == batch_fingerprint([copy.deepcopy(one)])
    assert batch_fingerprint([one]) != batch_fingerprint([other])


def test_a_full_disk_costs_targets_and_not_the_run(models, batches, tmp_path, monkeypatch):
    plain, _ = run(models, batches)
    told = []

    class Told(Quiet):
        def warned(self, text):
            told.append(text)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(target_cache, "replace_tensors", refuse)
        store = TargetCache(tmp_path, shard_bytes=1)
        student, count = run(models, batches, store, reporter=Told())
        assert same(plain, student) and count == 12 + 2 == len(told)
        assert "Targets of 1 batches were not written" in told[0] and "no space left" in told[0]
        told.clear()  # a larger shard is written when the run ends
        student, count = run(models, batches, TargetCache(tmp_path), reporter=Told())
        assert same(plain, student) and count == 4 + 2
        assert len(told) == 1 and "Targets of 6 batches were not written" in told[0]
    student, count = run(models, batches, TargetCache(tmp_path))
    assert same(plain, student) and count == 4 + 2
