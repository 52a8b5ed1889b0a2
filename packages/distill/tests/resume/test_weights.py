"""What a run left on disk is what its student held at the end."""

import os

import pytest
import torch

import distill as package
from distill import DistillConfig, Pair, distill, freeze_except, has_run, load_weights


@pytest.mark.parametrize("decay", [None, 0.9])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_loaded_weights_are_those_that_the_student_holds(
    models, batches, tmp_path, decay, keep
):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    errors = iter([3.0, 1.0, 2.0, 4.0])
    result = distill(
        student,
        teacher,
        batches,
        pairs=[Pair(teacher="blocks.1.attn", student="blocks.1.attn")],
        config=DistillConfig(
            steps=8, ema_decay=decay, keep=keep, evaluate_every=2, monitor="error", keep_last=1
        ),
        evaluate=lambda model: {"error": next(errors)},
        directory=tmp_path,
    )
    weights = load_weights(tmp_path)
    assert set(weights) == set(result.trainable.shapes) and weights
    held = student.state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in weights.items())
    assert result.averaged == (decay is not None) and has_run(tmp_path)
    _, fresh = models()
    fresh.load_state_dict(weights, strict=False)
    assert all(torch.equal(p, held[name]) for name, p in fresh.state_dict().items())


def test_where_no_run_is_there_is_nothing_to_load(tmp_path):
    assert not has_run(tmp_path) and not has_run(tmp_path / "absent")
    (tmp_path / "run.json").write_text("{}")  # a run that ended before its first checkpoint
    assert not has_run(tmp_path)
    with pytest.raises(ValueError, match=r"directory=.*it must hold a run with a checkpoint"):
        load_weights(tmp_path)


def test_every_place_on_the_disk_may_be_text(models, batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    pairs = [Pair(teacher="blocks.0.attn", student="blocks.0.attn")]
    config = DistillConfig(steps=1)
    store = package.TargetCache("targets")
    distill(student, teacher, batches, pairs=pairs, config=config, directory="run", store=store)
    assert has_run("run") and any((tmp_path / "targets").iterdir())
    trained = load_weights("run")
    assert package.read_journal("run/log.jsonl")
    package.save_adapter("made/adapter.safetensors", trained)
    package.load_adapter("made/adapter.safetensors", trained)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_buffers_that_changed_are_among_the_weights(models, batches, tmp_path, keep):
    def made():
        teacher, student = models()
        student.blocks[0].mlp = torch.nn.Sequential(torch.nn.BatchNorm1d(6), student.blocks[0].mlp)
        freeze_except(student, "*.proj_l.*")
        return teacher, student

    teacher, student = made()
    errors = iter([1.0, 2.0])
    distill(
        student,
        teacher,
        batches,
        pairs=[Pair(teacher="blocks.1.attn", student="blocks.1.attn")],
        config=DistillConfig(steps=4, evaluate_every=2, monitor="error", keep=keep),
        evaluate=lambda student: {"error": next(errors)},
        directory=tmp_path,
    )
    _, fresh = made()
    loaded = fresh.load_state_dict(load_weights(tmp_path), strict=False)
    assert not loaded.unexpected_keys
    held = student.state_dict()
    assert all(torch.equal(p, held[name]) for name, p in fresh.state_dict().items())


def test_a_damaged_or_missing_description_is_named(models, batches, tmp_path):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    options = {
        "pairs": [Pair(teacher="blocks.0.attn", student="blocks.0.attn")],
        "config": DistillConfig(steps=1),
        "directory": tmp_path,
    }
    distill(student, teacher, batches, **options)
    (tmp_path / "run.json").write_text('{"conf')
    with pytest.raises(ValueError, match=r"run=.*run.json'; it is missing or damaged"):
        distill(student, teacher, batches, **options)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"run=.*run.json'; it is missing or damaged"):
            load_weights(tmp_path)
        (tmp_path / "run.json").unlink(missing_ok=True)


def test_a_folder_whose_name_is_no_unicode_holds_a_run_and_no_targets(models, batches, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    pairs = [Pair(teacher="blocks.0.attn", student="blocks.0.attn")]
    config = DistillConfig(steps=2, checkpoint_every=1)
    for _ in range(2):
        teacher, student = models()
        freeze_except(student, "*.proj_l.*")
        distill(student, teacher, batches, pairs=pairs, config=config, directory=folder)
    weights, held = load_weights(folder), student.state_dict()
    assert weights and all(torch.equal(tensor, held[name]) for name, tensor in weights.items())
    package.save_adapter(folder / "adapter", weights)
    into = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    package.load_adapter(folder / "adapter", into)
    assert all(torch.equal(into[name], tensor) for name, tensor in weights.items())
    store = package.TargetCache(folder / "targets")
    with pytest.raises(ValueError, match="its name must be UTF-8"):
        distill(student, teacher, batches, pairs=pairs, config=config, store=store)
