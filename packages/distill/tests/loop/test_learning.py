"""A step is the textbook step, and what saves work leaves the student the same."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import distill as package
from distill import DistillConfig, distill
from distill.step.schedule import learning_rate_at

from .runs import CONFIG, PAIRS, assert_equal, trainee, weights


def test_training_brings_the_student_closer(models, batches):
    teacher, student = trainee(models)
    before = weights(student)
    config = DistillConfig(steps=100, learning_rate=1e-2)
    result = distill(student, teacher, batches, pairs=PAIRS, config=config)
    losses = [entry["losses"]["loss"] for entry in result.history if entry["kind"] == "step"]
    assert losses[-1] < 0.75 * losses[0]
    assert result.stopped == "finished" and result.steps == 100 and result.losses["loss"] > 0
    changed = {n for n, p in student.named_parameters() if not torch.equal(p, before[n])}
    assert changed == set(result.trainable.shapes)
    assert all(p.grad is None for n, p in student.named_parameters() if n not in changed)


def test_a_step_is_the_textbook_step(models, batches):
    teacher, student = trainee(models)
    by_hand = copy.deepcopy(student)
    config = DistillConfig(
        steps=3, learning_rate=1e-2, warmup_steps=1, accumulation=2, clip_norm=0.01, guard=None
    )
    distill(student, teacher, batches, pairs=PAIRS, config=config)

    parameters = [p for p in by_hand.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    for step in range(3):
        optimizer.zero_grad()
        for batch in batches[2 * step % 4 : 2 * step % 4 + 2]:
            with package.AttentionDistillation(teacher, by_hand, PAIRS, "relative_mse") as both:
                with both.teacher_pass():
                    teacher(batch)
                with both.student_pass():
                    by_hand(batch)
                (both.loss() / 2).backward()
        nn.utils.clip_grad_norm_(parameters, 0.01)
        for group in optimizer.param_groups:
            group["lr"] = [5e-3, 1e-2, 1e-2 * (0.01 + 0.99 * 0.5)][step]
        optimizer.step()
    assert parameters
    for name, parameter in by_hand.named_parameters():
        torch.testing.assert_close(parameter, student.get_parameter(name), rtol=0, atol=1e-6)


def test_the_student_ends_with_the_average_of_its_weights(models, batches):
    teacher, student = trainee(models)
    weights_after = []

    class Watching(package.Quiet):
        def stepped(self, record):
            weights_after.append(weights(student))

    name, config = "blocks.0.attn.proj_l.weight", dataclasses.replace(CONFIG, ema_decay=0.3)
    average = weights(student)[name]
    distill(student, teacher, batches, pairs=PAIRS, config=config, reporter=Watching())
    for step, seen in enumerate(weights_after, 1):
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * seen[name]
    torch.testing.assert_close(student.get_parameter(name).detach(), average)
    assert not torch.allclose(average, weights_after[-1][name])


def test_the_schedule_rises_then_falls():
    rates = [learning_rate_at(s, steps=20, peak=1.0, warmup_steps=4, final=0.1) for s in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True) and 0.1 < rates[-1] < 0.12


def test_a_run_until_the_last_pair_gives_the_same_student(models, batches):
    teacher, whole = trainee(models)
    distill(whole, teacher, batches, pairs=PAIRS, config=CONFIG)
    _, student = trainee(models)
    count = []
    student.head.register_forward_hook(lambda *_: count.append(1))
    config = dataclasses.replace(CONFIG, run_until="last_pair")
    distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert_equal(weights(whole), weights(student))
    assert len(count) == 1


def test_a_run_until_the_last_pair_sees_all_of_batches_of_any_length(models):
    """A model that runs its blocks for each item: some batches hold more items than the first."""

    def one_by_one(model, items):
        for item in items:
            model(item)

    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, 6, 8, generator=generator) for n in (2, 4, 1)]
    told = []
    for until in ("end", "last_pair"):
        teacher, student = trainee(models)
        config = dataclasses.replace(CONFIG, run_until=until)
        options = {"pairs": PAIRS, "config": config, "forward": one_by_one, "held_out": batches}
        result = distill(student, teacher, batches, **options)
        told.append((result.losses, result.metrics, [p.tolist() for p in student.parameters()]))
    assert told[0] == told[1]


def test_recomputed_activations_give_the_same_student(models, batches):
    teacher, whole = trainee(models, dropout=0.2)
    distill(whole, teacher, batches, pairs=PAIRS, config=CONFIG)
    for until in ("end", "last_pair"):
        _, student = trainee(models, dropout=0.2)
        config = dataclasses.replace(CONFIG, checkpoint_activations=("blocks.*",), run_until=until)
        distill(student, teacher, batches, pairs=PAIRS, config=config)
        assert_equal(weights(whole), weights(student))
        assert "forward" not in vars(student.blocks[0])


def test_autocast_computes_in_bfloat16_and_learns_in_float32(models, batches):
    teacher, student = trainee(models)
    kinds = set()
    student.blocks[0].attn.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    config = dataclasses.replace(CONFIG, autocast="bfloat16", steps=60)
    result = distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert kinds == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in student.parameters())
    assert result.losses["loss"] < 0.9 * result.history[0]["losses"]["loss"]
