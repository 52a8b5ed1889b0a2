"""Laws of paired hooks: right pairs, no traces, exact zeros, clear errors."""

import copy
import dataclasses

import pytest
import torch

from distill import AttentionDistillation, Pair
from distill.record.losses import LOSSES, find_loss

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def both_passes(distillation, teacher, student, x):
    with distillation.teacher_pass():
        teacher(x)
    with distillation.student_pass():
        student(x)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("same_object", [True, False])
def test_a_teacher_as_student_has_zero_loss_and_zero_gradients(models, batches, loss, same_object):
    teacher, _ = models()
    student = teacher if same_object else copy.deepcopy(teacher)
    with AttentionDistillation(teacher, student, PAIRS, loss=loss) as distillation:
        both_passes(distillation, teacher, student, batches[0])
        total = distillation.loss()
    total.backward()
    assert total.item() == 0.0
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients and all((gradient == 0).all() for gradient in gradients)


def test_the_loss_is_the_weighted_mean_of_the_layers(models, batches):
    teacher, student = models()
    kept = {}
    for role, model in (("t", teacher), ("s", student)):
        for i, block in enumerate(model.blocks):
            block.attn.register_forward_hook(
                lambda _, __, out, key=(role, i): kept.update({key: out})
            )
    pairs = [dataclasses.replace(PAIRS[i], weight=w) for i, w in enumerate((1.0, 2.0, 5.0))]
    with AttentionDistillation(teacher, student, pairs, loss="mse") as distillation:
        both_passes(distillation, teacher, student, batches[0])
        total = distillation.loss()
    layers = [(kept["s", i] - kept["t", i]).square().mean() for i in range(3)]
    expected = (layers[0] + 2 * layers[1] + 5 * layers[2]) / 8
    torch.testing.assert_close(total, expected)


def test_no_hook_is_left_behind(models, batches):
    teacher, student = models()
    with AttentionDistillation(teacher, student, PAIRS):
        assert hooks(teacher) == hooks(student) == 3
    assert hooks(teacher) == hooks(student) == 0
    with (
        pytest.raises(RuntimeError),
        AttentionDistillation(teacher, student, PAIRS) as entered,
        entered.student_pass(),
    ):
        student(batches[0][..., :3])
    assert hooks(teacher) == hooks(student) == 0


def test_only_the_pass_in_progress_is_recorded(models, batches):
    teacher, student = models()
    with AttentionDistillation(teacher, student, PAIRS) as distillation:
        both_passes(distillation, teacher, student, batches[0])
        student(batches[1])
        first = distillation.loss()
        both_passes(distillation, teacher, student, batches[0])
        assert torch.equal(first, distillation.loss())


def test_an_unknown_module_raises_with_the_closest_names(models):
    teacher, student = models()
    with pytest.raises(
        ValueError, match=r"'blocks.1.atn'; the teacher \(Net\) has no such module.*1.attn'"
    ):
        AttentionDistillation(teacher, student, [Pair(teacher="blocks.1.atn", student="head")])
    with pytest.raises(ValueError, match="student"):
        AttentionDistillation(teacher, student, [Pair(teacher="head", student="tail")])


def test_pairs_are_checked(models, batches):
    teacher, student = models()
    with pytest.raises(ValueError, match="at least one"):
        AttentionDistillation(teacher, student, [])
    with pytest.raises(ValueError, match="positive"):
        Pair(teacher="a", student="a", weight=0.0)
    with pytest.raises(ValueError, match=r"'l7'.*relative_mse"):
        find_loss("l7")
    wrong = [Pair(teacher="blocks.0.attn", student="blocks.0.attn.qkv")]
    with AttentionDistillation(teacher, student, wrong) as distillation:
        both_passes(distillation, teacher, student, batches[0])
        with pytest.raises(ValueError, match=r"\(2, 6, 8\).*\(2, 6, 24\)"):
            distillation.loss()
