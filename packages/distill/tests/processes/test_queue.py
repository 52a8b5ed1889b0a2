"""Each job of a queue is done once, whoever comes, dies or comes again."""

import errno
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import Queue, forget_done, work_off
from distill.resume import hold
from distill.resume.hold import NoLocksError, held_file

WORKER = Path(__file__).with_name("queue_worker.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("queue_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(worker, folder, *names):
    """A process that works at a queue: a child, which need not import PyTorch again."""
    process = get_context("fork").Process(target=worker.main, args=(folder, names))
    process.start()
    return process


def log(folder):
    path = folder / "log"
    return (
        [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []
    )


def told(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("told.*"))]


def wait_for(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def once(jobs):
    """Do jobs in this process; the names in order."""
    done = []

    def work(name, start):
        done.append((name, start))
        return {}

    return work, done


@pytest.mark.parametrize("launcher", ["none", "torchrun"])
def test_two_processes_do_each_job_once(worker, tmp_path, launcher):
    names = [f"job {number}" for number in range(24)]
    if launcher == "torchrun":
        command = [sys.executable, *TORCHRUN, str(WORKER), str(tmp_path), *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    else:
        for process in [start(worker, tmp_path, *names) for _ in range(2)]:
            process.join(120)
            assert process.exitcode == 0
    assert Counter(log(tmp_path)) == Counter(names)
    first, second = told(tmp_path)
    assert sorted([*first["own"], *second["own"]]) == sorted(names)
    assert first["all"] == second["all"] == names


def test_the_job_of_a_killed_process_is_taken_over(worker, tmp_path):
    names = ["long", "a", "b"]
    first = start(worker, tmp_path, *names)
    wait_for(lambda: log(tmp_path) == ["long"])
    second = start(worker, tmp_path, *names)  # does what is free, and waits for the rest
    wait_for(lambda: len(log(tmp_path)) == 3)
    assert second.exitcode is None
    (tmp_path / "released").touch()
    first.kill()
    first.join(60)
    second.join(60)
    assert (first.exitcode, second.exitcode) == (-signal.SIGKILL, 0)
    assert log(tmp_path) == ["long", "a", "b", "long"]
    (whole,) = told(tmp_path)
    assert sorted(whole["own"]) == sorted(names)


def test_a_job_that_kills_its_processes_does_not_kill_more_than_it_may(tmp_path):
    queue, jobs = Queue(folder=tmp_path, starts=3), {"deadly": None, "after": None}

    def work(name, start):
        if name == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

    for _ in range(3):
        if not (child := os.fork()):
            work_off(queue, jobs, work)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    found = work_off(queue, jobs, work)
    assert found.broken == {"deadly": "3 processes ended at work on it"}
    assert found.own == ("after",)


def test_a_job_whose_note_is_removed_counts_its_starts_anew(tmp_path):
    queue, jobs = Queue(folder=tmp_path, starts=1), {"a": None}

    def dies(name, start):
        raise RuntimeError("a fault of the program")

    def broken(name, start):
        raise ValueError("no photos")

    with pytest.raises(RuntimeError):
        work_off(queue, jobs, dies)
    for work, why in ((once([])[0], "1 processes ended"), (broken, "no photos")):
        assert why in work_off(queue, jobs, work).broken["a"]
        (tmp_path / "a.json").unlink()  # mended, it is tried once more
    work, done = once(["a"])
    assert not work_off(queue, jobs, work).broken
    assert done == [("a", 1)]


def test_a_broken_job_is_noted_and_does_not_stop_the_others(tmp_path):
    tried = []

    def work(name, start):
        tried.append(name)
        if name == "b":
            raise ValueError("no photos")
        return {"length": len(name)}

    queue = Queue(folder=tmp_path)
    said = []
    jobs = {"a": 1, "b": 2, "c": 3}
    found = work_off(queue, jobs, work, say=said.append)
    assert found.broken == {"b": "no photos"}
    assert said == ["b is broken: no photos"]
    assert found.notes["c"].result == {"length": 1}
    again = work_off(queue, jobs, work)
    assert tried == ["a", "b", "c"]
    assert again.notes == found.notes
    assert again.own == ()
    (tmp_path / "b.json").unlink()  # tried once more
    assert work_off(queue, jobs, work).own == ("b",)
    forget_done(queue, ["a", "b", "nothing"])
    assert work_off(queue, jobs, work).own == ("a",)


@pytest.mark.parametrize("result", [{"error": math.nan}, {"of": {1}}, {"file": Path("a")}, None])
def test_a_result_that_json_has_not_breaks_its_job_in_a_sentence(tmp_path, result):
    work, jobs = {"a": result, "b": {"pair": (1, 2), 3: 4}}, {"a": 1, "b": 2}
    found = work_off(Queue(folder=tmp_path), jobs, lambda name, start: work[name])
    assert "result of a=" in found.broken["a"] and "give None for" in found.broken["a"]
    assert found.notes["b"].result == {"pair": [1, 2], "3": 4}  # as it is read again
    assert work_off(Queue(folder=tmp_path), jobs, lambda name, start: {}).notes == found.notes


@settings(max_examples=20, deadline=None)
@given(
    names=st.lists(st.sampled_from("abcdef"), unique=True, min_size=1),
    stop=st.integers(0, 6),
)
def test_an_interrupted_queue_goes_on_where_it_was(tmp_path_factory, names, stop):
    folder = tmp_path_factory.mktemp("queue")
    work, done = once(names)

    def interrupted(name, start):
        if len(done) == stop:
            raise KeyboardInterrupt
        return work(name, start)

    queue, jobs = Queue(folder=folder, starts=1), dict.fromkeys(names)
    if stop < len(names):
        with pytest.raises(KeyboardInterrupt):
            work_off(queue, jobs, interrupted)
    found = work_off(
        queue, jobs, work
    )  # the interrupt was not the job's fault: starts count from 1
    assert done == [(name, 1) for name in names]
    assert not found.broken


def test_work_hears_that_a_job_was_begun_before(tmp_path):
    def dies(name, start):
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault"):
        work_off(Queue(folder=tmp_path), {"a": None}, dies)
    work, done = once(["a"])
    work_off(Queue(folder=tmp_path), {"a": None}, work)
    assert done == [("a", 2)]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_ends_the_process_and_blames_no_job(tmp_path, wrapped):
    def full(name, start):
        error = OSError(errno.ENOSPC, "no space left on device")
        if wrapped:
            raise ValueError("the scene was not written") from error
        raise error

    with pytest.raises((OSError, ValueError)):
        work_off(Queue(folder=tmp_path, starts=1), {"a": None}, full)
    work, done = once(["a"])
    assert not work_off(Queue(folder=tmp_path, starts=1), {"a": None}, work).broken
    assert done == [("a", 1)]


def test_other_settings_and_other_jobs_are_refused(tmp_path):
    work, _ = once(["a"])
    work_off(Queue(folder=tmp_path, settings={"size": 224}), {"a": "here"}, work)
    with pytest.raises(ValueError, match=r"same settings(.|\n)*size: 224 in the run, 504 now"):
        work_off(Queue(folder=tmp_path, settings={"size": 504}), {"a": "here"}, work)
    with pytest.raises(ValueError, match=r"a='there'; in this queue it was 'here'"):
        work_off(Queue(folder=tmp_path, settings={"size": 224}), {"a": "there"}, work)


@pytest.mark.parametrize("name", ["ü" * 120, os.fsdecode(b"caf\xe9")])
def test_long_names_and_such_that_are_no_unicode_are_done_once(tmp_path, name):
    for _ in range(2):
        found = work_off(Queue(folder=tmp_path), {name: name}, lambda name, start: {"out": name})
        assert found.notes[name].result == {"out": name}
    assert found.own == ()
    with pytest.raises(ValueError, match="at most 241 bytes"):
        work_off(Queue(folder=tmp_path), {"ü" * 121: 1}, lambda name, start: {})


@pytest.mark.parametrize("name", ["", "..", "a/b", "queue", "a\0b"])
def test_names_that_are_no_files_are_refused(tmp_path, name):
    work, done = once([name])
    with pytest.raises(ValueError, match="must be that of a file"):
        work_off(Queue(folder=tmp_path), {"a": None, name: None}, work)
    assert not done
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", [Path("photos"), math.nan, {"of": {1}}])
def test_jobs_that_json_has_not_are_refused_before_any_is_done(tmp_path, job):
    work, done = once("ab")
    with pytest.raises(ValueError, match=r"b=.*; a job must be what JSON can hold"):
        work_off(Queue(folder=tmp_path), {"a": 1, "b": job}, work)
    assert not done


@pytest.mark.parametrize("text", ["", "[1]", "{}", "[" * 100_000])
def test_a_damaged_note_is_named(tmp_path, text):
    work, _ = once(["a"])
    work_off(Queue(folder=tmp_path), {"a": None}, work)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json'; it is damaged: remove it"):
        work_off(Queue(folder=tmp_path), {"a": None}, work)


def test_a_disk_without_locks_is_refused(tmp_path, monkeypatch):
    class Locks:
        LOCK_EX = LOCK_NB = LOCK_UN = 0

        @staticmethod
        def flock(handle, kind):
            raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(hold, "import_module", lambda name: Locks)
    with pytest.raises(NoLocksError, match="no locks of files"), held_file(tmp_path / "a"):
        pass


def test_a_held_file_is_free_after_the_block_and_after_an_error(tmp_path):
    with held_file(tmp_path / "a") as mine, held_file(tmp_path / "a") as other:
        assert mine is not None and other is None
    with pytest.raises(KeyError), held_file(tmp_path / "a"):
        raise KeyError
    with held_file(tmp_path / "a") as mine:
        assert mine is not None
        assert os.fstat(mine).st_size == 0


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"pause_seconds": 0.0}])
def test_values_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Queue(folder=tmp_path, **wrong)
