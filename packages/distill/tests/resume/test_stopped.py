"""A signal, an error or a full disk costs no work, and the log stays whole."""

import contextlib
import dataclasses
import os
import resource
import signal

import pytest

from distill import Quiet, distill, read_journal

from .runs import CONFIG, PAIRS, Acting, same, steps, trainee


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(models, batches, tmp_path, number):
    def signal_at_7(step):
        if step == 7:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    teacher, student = trainee(models)
    options = {"pairs": PAIRS, "config": CONFIG, "directory": tmp_path}
    result = distill(student, teacher, batches, reporter=Acting(signal_at_7), **options)
    assert result.stopped == "interrupted" and result.steps == 8 and result.signal == number
    assert steps(tmp_path)[-1] == 8
    assert signal.getsignal(number) == before
    _, again = trainee(models)
    result = distill(again, teacher, batches, **options)
    assert result.stopped == "finished" and result.signal is None
    _, whole = trainee(models)
    distill(whole, teacher, batches, pairs=PAIRS, config=CONFIG)
    assert same(whole, again)


def test_an_error_leaves_the_last_whole_step_behind(models, batches, tmp_path):
    teacher, student = trainee(models)

    class Breaking:
        def at(self, index):
            if index == 10 and self.broken:
                raise OSError("cannot read image")
            return batches[index % 4]

    source = Breaking()
    source.broken = True
    options = {"pairs": PAIRS, "config": CONFIG, "directory": tmp_path}
    with pytest.raises(OSError, match="cannot read image"):
        distill(student, teacher, source, **options)
    assert steps(tmp_path)[-1] == 10
    source.broken = False
    _, again = trainee(models)
    distill(again, teacher, source, **options)
    _, whole = trainee(models)
    distill(whole, teacher, source, pairs=PAIRS, config=CONFIG)
    assert same(whole, again)


def test_an_error_in_an_evaluation_repeats_it_on_resume(models, batches, tmp_path):
    config = dataclasses.replace(CONFIG, evaluate_every=5, monitor="m")

    def breaks(model):
        raise OSError("no data")

    teacher, student = trainee(models)
    options = {"pairs": PAIRS, "config": config, "directory": tmp_path}
    with pytest.raises(OSError, match="no data"):
        distill(student, teacher, batches, evaluate=breaks, **options)
    count = []

    def counts(model):
        count.append(1)
        return {"m": 1.0}

    _, again = trainee(models)
    result = distill(again, teacher, batches, evaluate=counts, **options)
    assert len(count) == 4 and result.best_step == 5
    evaluated = [e["step"] for e in result.history if e["kind"] == "evaluation"]
    assert evaluated == [5, 10, 15, 20]


def test_an_evaluation_that_is_repeated_is_logged_once(models, batches, tmp_path):
    class Broken(Quiet):
        def evaluated(self, step, metrics):
            raise OSError("no network")

    config = dataclasses.replace(CONFIG, evaluate_every=5)
    options = {"pairs": PAIRS, "config": config, "held_out": batches[:2]}
    teacher, student = trainee(models)
    whole = distill(student, teacher, batches, **options).history
    for reporter in (Broken(), Broken(), None):
        _, student = trainee(models)
        with contextlib.suppress(OSError):
            found = distill(
                student, teacher, batches, directory=tmp_path, reporter=reporter, **options
            )
    plain = [[{**entry, "seconds": 0} for entry in log] for log in (whole, found.history)]
    assert plain[0] == plain[1]


@contextlib.contextmanager
def largest_file(size):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda on: resource.setrlimit(resource.RLIMIT_FSIZE, (size if on else old[0], old[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_costs_no_work(models, batches, tmp_path):
    """The system refuses to write more than 1000 bytes to any file from step 7 to 16."""
    teacher, student = trainee(models)
    with largest_file(1000) as limit:

        def act(step):
            if step in (7, 16):
                limit(step == 7)

        listener = Acting(act)
        result = distill(
            student,
            teacher,
            batches,
            pairs=PAIRS,
            config=CONFIG,
            directory=tmp_path,
            reporter=listener,
        )
    assert result.stopped == "finished"
    assert len(listener.warnings) == 3 and "no space left" in listener.warnings[0]
    assert steps(tmp_path) == [18, 20]
    assert not list(tmp_path.rglob(".*"))
    logged = [e["step"] for e in read_journal(tmp_path / "log.jsonl") if e["kind"] == "step"]
    assert logged == list(range(1, 21))
    _, whole = trainee(models)
    distill(whole, teacher, batches, pairs=PAIRS, config=CONFIG)
    assert same(whole, student)
