"""What is best is judged, kept and told, and a checkpoint holds what trains alone."""

import dataclasses

import pytest
import torch

from distill import distill, load_weights
from distill.resume.checkpoint import list_checkpoints, load_checkpoint

from .runs import CONFIG, PAIRS, Acting, same, steps, trainee


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
    options = {"pairs": PAIRS, "config": config, "directory": tmp_path}

    def fails(model):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        distill(student, teacher, batches, evaluate=fails, **options)
    for _ in range(2):
        result = distill(student, teacher, batches, evaluate=lambda m: {"error": 1.0}, **options)
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
