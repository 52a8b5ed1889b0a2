"""What listeners hear."""

import sys
from functools import partial
from types import ModuleType

import pytest

from distill import DistillConfig, Pair, Together, WandB, distill, freeze_except
from distill.reporters.tensorboard import TensorBoard

PAIRS = [Pair(teacher="blocks.0.attn", student="blocks.0.attn")]


def heard(name):
    return lambda self, *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))


class Everything:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):  # of what others write to
        return partial(heard(name), self)

    started, stepped, evaluated, warned, ended = map(
        heard, ("started", "stepped", "evaluated", "warned", "ended")
    )


def run(models, batches, reporter, **options):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    config = DistillConfig(steps=4, evaluate_every=2)
    return distill(
        student,
        teacher,
        batches,
        pairs=PAIRS,
        config=config,
        held_out=batches,
        count_images=len,
        reporter=reporter,
        **options,
    )


def test_a_listener_hears_everything_in_order(models, batches):
    one, other = Everything(), Everything()
    result = run(models, batches, Together(one, other))
    assert one.calls == other.calls
    names = [call[0] for call in one.calls]
    block = ["stepped", "stepped", "evaluated"]
    assert names == ["started", "warned", *block, *block, "ended"]
    start, warning, record = one.calls[0][1], one.calls[1][1], one.calls[2][1]
    assert (start.equal, start.different, start.unmatched) == (20, 0, 0)
    assert "4 of 6 trainable parameters get no gradient" in warning
    assert record.step == 1 and record.images == 2 and record.losses == result.history[1]["losses"]
    assert one.calls[-2][1:] == (4, result.metrics) and one.calls[-1] == ("ended", "finished")


def test_the_end_is_told_to_all_where_one_fails(models, batches):
    class Broken(Everything):
        def ended(self, why):
            raise ConnectionError("no network")

    one, other = Everything(), Everything()
    with pytest.raises(ConnectionError):
        run(models, batches, Together(one, Broken(), other))
    assert one.calls[-1] == other.calls[-1] == ("ended", "finished")


def test_a_student_that_differs_from_its_teacher_is_counted(models, batches):
    heard = Everything()
    teacher, student = models()
    teacher.head.weight.data += 1
    freeze_except(student, "*.proj_l.*")
    distill(student, teacher, batches, pairs=PAIRS, config=DistillConfig(steps=1), reporter=heard)
    assert (heard.calls[0][1].equal, heard.calls[0][1].different) == (19, 1)


def test_a_start_says_what_trains_and_what_is_the_teachers(models, batches):
    heard = Everything()
    run(models, batches, heard)
    text = str(heard.calls[0][1])
    assert "216 of 1,305 parameters train" in text and "20 equal to the teacher's" in text


def test_nothing_is_printed_without_a_listener(models, batches, capfd):
    run(models, batches, None)
    assert capfd.readouterr() == ("", "")


def test_tensorboard_gets_every_scalar(models, batches, monkeypatch, tmp_path):
    writer = Everything()
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = lambda directory: writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run(models, batches, TensorBoard(tmp_path))
    scalars = {(call[1], call[3]) for call in writer.calls if call[0] == "add_scalar"}
    names = ["train/loss", "train/attention", "step/learning_rate", "step/gradient_norm"]
    assert {(name, step) for name in names for step in (1, 2, 3, 4)} <= scalars
    assert {("evaluation/loss", 2), ("evaluation/attention", 4)} <= scalars
    assert writer.calls[-1] == ("close",)


def test_tensorboard_must_be_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError):
        TensorBoard(tmp_path)


def test_wandb_gets_every_scalar_and_stays_offline_unless_asked(
    models, batches, monkeypatch, tmp_path
):
    board, summary, asked = Everything(), {}, []
    board.summary = summary
    module = ModuleType("wandb")
    module.init = lambda **options: asked.append(options) or board
    monkeypatch.setitem(sys.modules, "wandb", module)
    listener = WandB("light", directory=tmp_path)
    assert not asked
    result = run(models, batches, listener)
    assert asked[0]["mode"] == "offline" and asked[0]["project"] == "light"
    assert "216 of 1,305 parameters train" in asked[0]["config"]["start"]
    logged = {}
    for _, values, step in (call for call in board.calls if call[0] == "log"):
        logged.setdefault(step, {}).update(values)
    assert list(logged) == [1, 2, 3, 4]
    assert logged[4]["train/loss"] == result.losses["loss"]
    assert logged[4]["evaluation/loss"] == result.metrics["loss"]
    assert {"step/learning_rate", "step/gradient_norm"} <= set(logged[1])
    assert "4 of 6 trainable parameters" in summary["warnings"][0]
    assert summary["ended"] == "finished" and board.calls[-1] == ("finish", 0)


def test_wandb_writes_a_run_without_network(models, batches, tmp_path):
    pytest.importorskip("wandb")
    result = run(models, batches, WandB("light", directory=tmp_path))
    (record,) = tmp_path.rglob("*.wandb")
    assert result.stopped == "finished" and record.stat().st_size > 1000


def test_wandb_must_be_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError):
        WandB("light", directory=tmp_path)
