"""What stays on disk: newest and best checkpoints, a whole log, also when things go wrong."""

import contextlib
import dataclasses
import os
import resource
import signal

import pytest
import torch

from distill import (
    DistillConfig,
    Pair,
    Quiet,
    distill,
    freeze_except,
    load_weights,
    read_journal,
)
from distill.resume.checkpoint import list_checkpoints, load_checkpoint

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(steps=20, learning_rate=1e-2, checkpoint_every=3, keep_last=2)


class Acting(Quiet):
    def __init__(self, act):
        self.act, self.warnings = act, []

    def stepped(self, record):
        self.act(record.step)

    def warned(self, text):
        self.warnings.append(text)


def trainee(models):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    return teacher, student


def steps(directory):
    return [int(path.name[5:]) for path in list_checkpoints(directory / "checkpoints")]


def same(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_newest_and_the_best_are_kept(models, batches, tmp_path):
    teacher, student = trainee(models)
    values = {4: 2.0, 8: 1.0, 12: 3.0, 16: 2.0, 20: 5.0}
    seen, now = {}, []

    def follow(step):
        now.append(step)
        seen[step] = {n: p.detach().clone() for n, p in student.named_parameters()}

    config = dataclasses.replace(
        CONFIG, evaluate_every=4, monitor="error", keep="best", keep_last=1
    )
    result = distill(
        student,
        teacher,
        batches,
        pairs=PAIRS,
        config=config,
        directory=tmp_path,
        evaluate=lambda model: {"error": values[now[-1]]},
        reporter=Acting(follow),
    )
    assert (result.best_step, result.best_value, result.metrics) == (8, 1.0, {"error": 5.0})
    assert steps(tmp_path) == [8, 20]
    assert all(torch.equal(p, seen[8][n]) for n, p in student.named_parameters())


def test_a_run_whose_last_evaluation_failed_goes_on_to_its_best_weights(models, batches, tmp_path):
    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, monitor="error", keep="best")

    def run(evaluate):
        return distill(
            student,
            teacher,
            batches,
            pairs=PAIRS,
            config=config,
            directory=tmp_path,
            evaluate=evaluate,
        )

    def fails(model):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(fails)
    for _ in range(2):
        result = run(lambda model: {"error": 1.0})
        assert (result.stopped, result.best_step) == ("finished", 20)


def test_what_a_run_left_is_its_best_also_where_its_last_evaluation_failed_once(
    models, batches, tmp_path
):
    teacher, student = trainee(models)
    errors = iter([1.0, None, 2.0])

    def evaluate(model):
        if (error := next(errors)) is None:
            raise RuntimeError("out of memory")
        return {"loss": error}

    config = dataclasses.replace(CONFIG, keep="best", evaluate_every=10)
    options = {"pairs": PAIRS, "config": config, "directory": tmp_path, "evaluate": evaluate}
    with pytest.raises(RuntimeError, match="out of memory"):
        distill(student, teacher, batches, **options)
    for _ in range(2):  # the second finds the run ended, and evaluates nothing
        _, student = trainee(models)
        assert distill(student, teacher, batches, **options).best_step == 10
        weights = load_weights(tmp_path)
        assert all(torch.equal(p, student.get_parameter(n)) for n, p in weights.items())


def test_a_checkpoint_holds_only_what_trains(models, batches, tmp_path):
    teacher, student = trainee(models)
    result = distill(student, teacher, batches, pairs=PAIRS, config=CONFIG, directory=tmp_path)
    tensors = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[-1]).tensors
    names = {f"model/{name}" for name in result.trainable.shapes}
    states = {
        f"optimizer/{name}/{key}"
        for name in result.trainable.shapes
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
    assert set(tensors) == names | states
    assert all(p.grad is None for p in student.parameters() if not p.requires_grad)


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


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_without_an_end_is_judged_and_saved(models, batches, tmp_path, mode):
    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, evaluate_every=5, keep="best", monitor_mode=mode)
    scores = iter([float("inf"), 3.0, float("-inf"), 2.0])
    options = {"pairs": PAIRS, "config": config, "directory": tmp_path}
    result = distill(
        student, teacher, batches, evaluate=lambda model: {"loss": next(scores)}, **options
    )
    assert result.best_step == {"min": 15, "max": 5}[mode]
    again = distill(student, teacher, batches, evaluate=lambda model: {}, **options)
    assert again.best_step == result.best_step


def test_patience_ends_a_run_early_and_for_good(models, batches, tmp_path):
    teacher, student = trainee(models)
    config = dataclasses.replace(
        CONFIG, evaluate_every=2, patience=3, monitor="score", monitor_mode="max"
    )
    scores = iter([1.0, 2.0, 2.0, 1.5, float("nan"), 9.0])
    options = {"pairs": PAIRS, "config": config, "directory": tmp_path}
    result = distill(
        student, teacher, batches, evaluate=lambda model: {"score": next(scores)}, **options
    )
    assert (result.stopped, result.steps, result.best_step) == ("early", 10, 4)
    _, again = trainee(models)
    assert distill(again, teacher, batches, evaluate=lambda m: {}, **options).stopped == "early"
    assert same(student, again)


def test_metrics_of_ones_own_need_no_monitor_where_nothing_depends_on_it(models, batches, tmp_path):
    def run(directory, **changes):
        teacher, student = trainee(models)
        return distill(
            student,
            teacher,
            batches,
            pairs=PAIRS,
            config=dataclasses.replace(CONFIG, **changes),
            directory=tmp_path / directory,
            evaluate=lambda student: {"psnr": 30.0},
        )

    result = run("plain")
    assert result.metrics == {"psnr": 30.0} and result.best_step is None
    for changes in ({"keep": "best"}, {"patience": 2}, {"monitor": "ssim"}):
        with pytest.raises(ValueError, match=r"monitor='\w+'; .* these are \['psnr'\]: let"):
            run(str(changes), **changes)
