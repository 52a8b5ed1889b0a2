"""Disks that refuse, and two runs in one folder: nothing is half-written, nothing is lost."""

import dataclasses
import errno
import os
import random

import pytest
from safetensors import SafetensorError

from distill import DistillConfig, Pair, distill, freeze_except, load_weights
from distill.resume import archive, files
from distill.resume.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from distill.resume.hold import held_alone

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(steps=8, learning_rate=1e-2, checkpoint_every=2, keep_last=2)
CALLS = ("fsync", "rename", "replace")


@pytest.fixture
def run(models, batches):
    def start(directory, evaluate=None, **changes):
        teacher, student = models()
        freeze_except(student, "*.proj_l.*")
        distill(
            student,
            teacher,
            batches,
            pairs=PAIRS,
            config=dataclasses.replace(CONFIG, **changes),
            directory=directory,
            evaluate=evaluate,
        )
        return {n: p.tolist() for n, p in student.named_parameters() if p.requires_grad}

    return start


def refuse_at(monkeypatch, first, number):
    """Let every durable system call from the `first`th on fail; return how many there were."""
    count = [0]

    def wrapped(call):
        def refusing(*args, **kwargs):
            count[0] += 1
            if count[0] >= first:
                raise OSError(number, os.strerror(number))
            return call(*args, **kwargs)

        return refusing

    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
    return count


def test_a_disk_that_refuses_at_any_moment_costs_no_whole_step(run, tmp_path, monkeypatch, request):
    expected = run(None)
    with monkeypatch.context() as patch:
        count = refuse_at(patch, 10**9, errno.EIO)
        run(tmp_path / "whole")
    assert count[0] > 10
    draw = random.Random(0)
    for point in range(request.config.getoption("--kill-points", default=12)):
        number = draw.choice([errno.EACCES, errno.EROFS, errno.EIO, errno.ENOSPC])
        directory = tmp_path / f"run-{point}"
        with monkeypatch.context() as patch:
            refuse_at(patch, draw.randint(1, count[0]), number)
            try:
                run(directory)
            except OSError as error:
                assert error.errno == number
            else:
                assert number == errno.ENOSPC  # a full disk is told, and training goes on
        for path in list_checkpoints(directory / "checkpoints"):
            load_checkpoint(path)
        assert run(directory) == expected
        assert not list(directory.rglob(".*partial"))


def test_the_log_is_on_disk_before_a_checkpoint_that_counts_on_it(run, tmp_path, monkeypatch):
    """After a power cut a run goes on from the checkpoint, and writes no row before it again."""
    log, flushed, found = tmp_path / "log.jsonl", [], []
    sync, rename = os.fsync, os.rename

    def syncing(handle):
        sync(handle)
        if log.exists() and os.path.samestat(os.fstat(handle), log.stat()):
            flushed.append(log.read_bytes())

    def renaming(before, after):
        if after.name.startswith("step-"):
            found.append((flushed[-1:], log.read_bytes()))
        rename(before, after)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    run(tmp_path, evaluate=lambda model: {"error": 1.0}, evaluate_every=2)
    assert len(found) == 4 and all(on_disk == [told] for on_disk, told in found)


def test_a_disk_that_is_full_at_the_best_step_costs_no_run(run, tmp_path, monkeypatch):
    """The best that was written counts; the run ends, and is the same when it is asked again."""

    def refusing(directory, step, *rest):
        if step == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save_checkpoint(directory, step, *rest)

    monkeypatch.setattr(archive, "save_checkpoint", refusing)
    scores, weights = {2: 3.0, 4: 2.0, 6: 1.0, 8: 4.0}, {}

    def evaluate(student):
        step = 2 * len(weights) + 2
        weights[step] = {n: p.tolist() for n, p in student.named_parameters() if p.requires_grad}
        return {"loss": scores[step]}

    options = {"evaluate": evaluate, "keep": "best", "evaluate_every": 2}
    found = run(tmp_path, **options)
    assert len(weights) == 4 and found == weights[4]
    assert run(tmp_path, **options) == found
    assert {n: p.tolist() for n, p in load_weights(tmp_path).items()} == found


@pytest.mark.parametrize(
    "told",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        'Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space" })',
    ],
)
def test_a_full_disk_is_known_by_what_any_safetensors_says(told, tmp_path, monkeypatch):
    def refuse(*_):
        raise SafetensorError(told)

    monkeypatch.setattr(files, "save_file", refuse)
    with pytest.raises(OSError, match="Error while serializing") as caught:
        files.write_tensors(tmp_path / "tensors.safetensors", {})
    assert files.is_full(caught.value)


def test_two_runs_in_one_folder_are_one_too_many(run, tmp_path):
    with (
        held_alone(tmp_path, writes=True),
        pytest.raises(ValueError, match="another run is at work in it: wait for its end"),
    ):
        run(tmp_path)
    assert not list(tmp_path.iterdir())
    assert run(tmp_path) == run(None)


def test_a_process_that_dies_lets_go(run, tmp_path):
    child = os.fork()
    if child == 0:
        with held_alone(tmp_path, writes=True):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert run(tmp_path) == run(None)


def test_other_processes_of_one_run_share_its_folder(tmp_path):
    with (
        held_alone(tmp_path, writes=True),
        held_alone(tmp_path, writes=False),
        pytest.raises(ValueError, match="another run is at work in it"),
        held_alone(tmp_path, writes=True),
    ):
        pytest.fail("a second one writes")
    with held_alone(tmp_path, writes=False):
        assert not list(tmp_path.iterdir())  # who does not write leaves nothing


@pytest.mark.parametrize("killed", [False, True])
def test_forked_processes_such_as_workers_of_a_loader_hold_nothing(tmp_path, killed):
    """They live on after the run that forked them, until the test closes their pipe."""
    wait, go = os.pipe()
    alive, told = os.pipe()

    def worker():
        os.close(go)
        os.write(told, b"x")
        os.read(wait, 1)
        os._exit(0)

    run = os.fork() if killed else 0
    if not run:
        with held_alone(tmp_path, writes=True):
            if not os.fork():
                worker()
            assert os.read(alive, 1) == b"x"
            if killed:
                os.kill(os.getpid(), 9)
    else:
        os.waitpid(run, 0)
    with held_alone(tmp_path, writes=True):
        for handle in (wait, go, alive, told):
            os.close(handle)
