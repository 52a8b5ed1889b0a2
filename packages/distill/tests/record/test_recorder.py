"""Laws of reading a model: the right tensor, or an error that says why there is none."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from distill import AttentionDistillation, DistillConfig, Pair, distill, pair_sites
from distill.record.recorder import Recorder


def test_the_input_of_the_output_projection_is_read_before_it(models, batches):
    teacher, _ = models()
    seen = []
    teacher.blocks[0].attn.proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    site = type("Site", (), {"name": "blocks.0.attn"})
    pairs = pair_sites([site], suffix=".proj", at="input", weights={"blocks.0.attn": 3.0})
    assert pairs == (
        Pair(teacher="blocks.0.attn.proj", student="blocks.0.attn.proj", weight=3.0, at="input"),
    )
    recorder = Recorder(teacher, [pairs[0].teacher_tap], "teacher")
    with recorder, recorder.recording():
        teacher(batches[0])
        assert recorder.take()[pairs[0].teacher_tap][0] is seen[0]
    with pytest.raises(ValueError, match="no site"):
        pair_sites([site], weights={"blocks.9.attn": 1.0})


def test_a_module_that_did_not_run_is_an_error(models, batches):
    teacher, _ = models()
    teacher.spare = nn.Linear(8, 8)
    recorder = Recorder(teacher, [Pair(teacher="spare", student="spare").teacher_tap], "teacher")
    with recorder, recorder.recording():
        teacher(batches[0])
        with pytest.raises(ValueError, match=r"'spare'; it did not run in the pass of the teacher"):
            recorder.take()


def test_an_output_overwritten_in_place_is_an_error(models, batches):
    teacher, _ = models()
    recorder = Recorder(
        teacher, [Pair(teacher="blocks.0.attn", student="x").teacher_tap], "teacher"
    )
    teacher.blocks[0].drop = Overwrite()
    with recorder, recorder.recording(), torch.no_grad():
        teacher(batches[0])
        with pytest.raises(ValueError, match="overwritten"):
            recorder.take()


class Overwrite(nn.Module):
    def forward(self, x):
        return x.add_(1.0)


def test_tuples_give_the_chosen_item():
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    holder = nn.Sequential(model)
    x = torch.randn(1, 5, 8)
    taps = [Pair(teacher="0", student="0", item=i).teacher_tap for i in (0, 1, 2)]
    recorder = Recorder(holder, taps[:2], "teacher")
    with recorder, recorder.recording():
        model(x, x, x)
        records = recorder.take()
    assert records[taps[0]][0].shape == (1, 5, 8) and records[taps[1]][0].shape == (1, 5, 5)
    recorder = Recorder(holder, taps[2:], "teacher")
    with (
        recorder,
        recorder.recording(),
        pytest.raises(ValueError, match=r"item=2; .* has no tensor"),
    ):
        model(x, x, x)


def compared(teacher, student, pairs, x):
    with AttentionDistillation(teacher, student, pairs) as attention:
        with attention.teacher_pass():
            teacher(x)
        with attention.student_pass():
            student(x)
        return attention.loss()


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_checkpoint_made_without_gradients_is_not_compared_in_silence(
    models, batches, reentrant
):
    teacher, student = models()
    pairs = [Pair(teacher=n, student=n) for n in ("blocks.0.attn", "blocks.2.attn")]
    loss = compared(teacher, student, pairs, batches[0])
    wanted = torch.autograd.grad(loss, student.blocks[0].attn.qkv.weight)[0]
    plain = student.blocks[0].forward
    student.blocks[0].forward = lambda x: checkpoint(plain, x, use_reentrant=reentrant)
    if reentrant:
        with pytest.raises(ValueError, match=r"module='blocks.0.attn'; .* use_reentrant=False"):
            compared(teacher, student, pairs, batches[0].requires_grad_())
    else:
        loss = compared(teacher, student, pairs, batches[0])
        found = torch.autograd.grad(loss, student.blocks[0].attn.qkv.weight)[0]
        torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        assert compared(teacher, student, pairs, batches[0]) == loss


def test_a_teacher_may_run_in_inference_mode_of_its_own(models, batches):
    teacher, student = models()
    pairs = [Pair(teacher="blocks.0.attn", student="blocks.0.attn")]
    loss = compared(teacher, student, pairs, batches[0])
    teacher.forward = torch.inference_mode()(teacher.forward)
    found = compared(teacher, student, pairs, batches[0])
    assert found == loss and found.requires_grad
    result = distill(student, teacher, batches, pairs=pairs, config=DistillConfig(steps=2))
    assert result.stopped == "finished"
    with torch.inference_mode():
        compared(teacher, student, pairs, batches[0])


def test_a_module_is_known_by_each_of_its_names(models, batches):
    teacher, student = models()
    for model in (teacher, student):
        model.last = model.blocks[2]
    pairs = [[Pair(teacher=n, student=n)] for n in ("blocks.2", "last", "last.attn")]
    losses = [compared(teacher, student, pair, batches[0]) for pair in pairs]
    assert losses[0] == losses[1] != losses[2]


def test_a_nested_tensor_is_refused():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    padding = torch.tensor([[False, True], [False, False]])
    for nested in (True, False):
        teacher = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested).eval()
        recorder = Recorder(teacher, [Pair(teacher="layers.0", student="x").teacher_tap], "teacher")
        refused = pytest.raises(ValueError, match=r"'layers.0'; its output .* is a nested tensor")
        with torch.no_grad(), recorder, recorder.recording(), refused if nested else nullcontext():
            teacher(torch.ones(2, 2, 8), src_key_padding_mask=padding)
