"""Learning site by site: exact gradients, and the memory of one site."""

import copy
import dataclasses
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill import (
    AttentionOutputs,
    Cycled,
    Depth,
    DistillConfig,
    LocalAttention,
    Pair,
    TargetCache,
    distill,
    freeze_except,
)
from distill.objectives.objective import measure, reading_of
from distill.observe.local_sites import with_gradients
from distill.observe.observer import Observer
from distill.record.losses import LOSSES, find_loss

PAIRS = tuple(
    Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn", weight=w)
    for i, w in enumerate((1.0, 2.0, 5.0))
)
CONFIG = DistillConfig(steps=12, learning_rate=1e-2, clip_norm=None, guard=None)


def trainee(models, **options):
    teacher, student = models(**options)
    freeze_except(student, "*.proj_l.*")
    return teacher, student


def site_inputs(teacher, batch):
    """What goes into and comes out of each attention of the teacher."""
    seen = []
    handles = [
        block.attn.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
        for block in teacher.blocks
    ]
    with torch.no_grad():
        teacher(batch)
    for handle in handles:
        handle.remove()
    return seen


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def local_pass(teacher, student, objectives, batch, **options):
    student.zero_grad()
    with Observer(student, teacher, reading_of(objectives), **options) as observer:
        losses = measure(objectives, observer.observe(batch, seed=0))
    losses["loss"].backward()
    return losses, gradients(student)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_site_gets_the_gradient_of_its_own_loss(models, batches, loss):
    teacher, student = trainee(models)
    by_hand = copy.deepcopy(student)
    total = 0.0
    for pair, block, (given, aim) in zip(
        PAIRS, by_hand.blocks, site_inputs(teacher, batches[0]), strict=True
    ):
        total = total + pair.weight / 8 * find_loss(loss)(block.attn(given), aim)
    (0.5 * total).backward()
    objectives = [LocalAttention(pairs=PAIRS, loss=loss, weight=0.5)]
    losses, found = local_pass(teacher, student, objectives, batches[0])
    torch.testing.assert_close(losses["local"], total, check_dtype=False)
    expected = gradients(by_hand)
    assert found.keys() == expected.keys() and len(found) == 6
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-8)


def test_a_student_that_is_the_teacher_has_zero_loss_and_gradients(models, batches):
    teacher, _ = models()
    student = copy.deepcopy(teacher)
    freeze_except(student, "*.proj_l.*")
    losses, found = local_pass(teacher, student, [LocalAttention(pairs=PAIRS)], batches[0])
    assert losses["loss"].item() == 0.0
    assert len(found) == 6 and all((gradient == 0).all() for gradient in found.values())


def test_local_and_other_objectives_add_up(models, batches):
    teacher, student = trainee(models)
    objectives = [LocalAttention(pairs=PAIRS), AttentionOutputs(pairs=PAIRS, weight=0.3)]
    _, both = local_pass(teacher, student, objectives, batches[0])
    parts = [local_pass(teacher, student, [o], batches[0])[1] for o in objectives]
    assert both
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, parts[0][name] + parts[1][name])


def test_the_student_makes_no_pass_of_its_own(models, batches):
    teacher, student = trainee(models)
    runs = []
    student.register_forward_hook(lambda *_: runs.append("student"))
    teacher.head.register_forward_hook(lambda *_: runs.append("head of the teacher"))
    config = dataclasses.replace(CONFIG, run_until="last_pair")
    objectives = [LocalAttention()]
    distill(student, teacher, batches, pairs=PAIRS, objectives=objectives, config=config)
    assert runs == ["head of the teacher"]  # in the first pass, which counts the pairs


def test_training_site_by_site_brings_the_student_closer(models, batches):
    teacher, student = trainee(models)
    result = distill(
        student,
        teacher,
        batches,
        pairs=PAIRS,
        objectives=[LocalAttention()],
        config=DistillConfig(steps=100, learning_rate=1e-2),
        held_out=batches,
    )
    losses = [e["losses"]["local"] for e in result.history if e["kind"] == "step"]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    assert result.metrics["local"] == pytest.approx(sum(losses[-4:]) / 4, rel=0.05)
    assert not any(m._forward_hooks for model in (teacher, student) for m in model.modules())


def test_a_local_run_resumes_bit_equal(models, batches, tmp_path):
    teacher, whole = trainee(models, dropout=0.2)
    options = {"pairs": PAIRS, "objectives": [LocalAttention()]}
    config = dataclasses.replace(CONFIG, accumulation=2)
    distill(whole, teacher, batches, config=config, **options)

    class Breaking(Cycled):
        def at(self, index):
            if index == 9:
                raise KeyError
            return super().at(index)

    _, student = trainee(models, dropout=0.2)
    with pytest.raises(KeyError):
        distill(student, teacher, Breaking(batches), config=config, directory=tmp_path, **options)
    _, student = trainee(models, dropout=0.2)
    distill(student, teacher, batches, config=config, directory=tmp_path, **options)
    pairs = zip(whole.parameters(), student.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_site_that_runs_twice_and_autocast_keep_the_gradient(models, batches):
    teacher, student = trainee(models)
    for model in (teacher, student):
        model.blocks[1] = model.blocks[0]
    pairs = PAIRS[:1]
    objectives = [LocalAttention(pairs=pairs)]
    _, found = local_pass(teacher, student, objectives, batches[0], autocast="bfloat16")
    _, exact = local_pass(teacher, student, objectives, batches[0])
    assert exact
    for name, gradient in exact.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], gradient, rtol=0.1, atol=2e-3)


class LiveBytes(TorchDispatchMode):
    """The largest sum of bytes alive at once in storages that were made in this block."""

    def __init__(self):
        super().__init__()
        self.live, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, sum(self.live.values()))
        return result

    def _note(self, storage):
        if storage._cdata not in self.live:
            self.live[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self.live.pop, storage._cdata, None)


def peak(models, objective, depth, tokens=256):
    torch.manual_seed(1)
    like = models()[0]
    teacher = type(like)(depth=depth)
    student = copy.deepcopy(teacher)
    freeze_except(student, "*.proj_l.*")
    pairs = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(depth)]
    batches = [torch.randn(1, tokens, 8)]
    config = dataclasses.replace(CONFIG, steps=2)
    with LiveBytes() as live:
        distill(student, teacher, batches, pairs=pairs, objectives=[objective], config=config)
    return live.peak


def test_memory_does_not_grow_with_the_number_of_layers(models):
    shallow, deep = (peak(models, LocalAttention(), depth) for depth in (2, 8))
    assert deep < 1.05 * shallow
    usual = peak(models, AttentionOutputs(), 8)
    assert usual > 3 * deep and usual > 2.5 * peak(models, AttentionOutputs(), 2)


def test_bad_input_is_refused(models, batches, tmp_path):
    teacher, student = trainee(models)
    options = {"pairs": PAIRS, "config": CONFIG, "objectives": [LocalAttention()]}
    with pytest.raises(ValueError, match=r"a store of targets would spare that"):
        distill(student, teacher, batches, store=TargetCache(tmp_path), **options)
    with pytest.raises(ValueError, match=r"at='input' in the pairs \['blocks.0.attn.proj'\]"):
        LocalAttention(
            pairs=(Pair(teacher="blocks.0.attn.proj", student="blocks.0.attn.proj", at="input"),)
        )
    with pytest.raises(ValueError, match=r"weight=0.*objective 'local'"):
        LocalAttention(weight=0.0)
    with pytest.raises(ValueError, match=r"student='blocks.0.mlp'; nothing trains"):
        mlp = [Pair(teacher="blocks.0.mlp", student="blocks.0.mlp")]
        distill(student, teacher, batches, **(options | {"pairs": mlp}))
    with pytest.raises(ValueError, match=r"module='blocks.7.attn'; the teacher"):
        lost = [Pair(teacher="blocks.7.attn", student="blocks.0.attn")]
        distill(student, teacher, batches, **(options | {"pairs": lost}))
    teacher.spare = nn.Linear(8, 8)
    with pytest.raises(
        ValueError, match=r"module='spare'; it did not run in the pass of the teacher"
    ):
        idle = [Pair(teacher="spare", student="blocks.0.attn")]
        distill(student, teacher, batches, **(options | {"pairs": idle}))
    with pytest.raises(ValueError, match="does not depend on any parameter"):
        with_gradients(torch.ones(()), [nn.Parameter(torch.ones(()))])
    distill(
        student,
        teacher,
        batches,
        **(options | {"objectives": [LocalAttention(), Depth(confidence=None)]}),
    )


def test_a_teacher_under_inference_mode_teaches_the_same(models, batches):
    def run(inference):
        teacher, student = trainee(models)

        def forward(model, batch):
            with torch.inference_mode(inference and model is teacher):
                return model(batch)

        config = dataclasses.replace(CONFIG, steps=3)
        objectives = [LocalAttention(pairs=PAIRS)]
        result = distill(
            student,
            teacher,
            batches,
            objectives=objectives,
            config=config,
            forward=forward,
            held_out=batches[:1],
        )
        return result.losses, result.metrics, [p.tolist() for p in student.parameters()]

    assert run(True) == run(False)


def test_a_module_that_overwrites_its_input_is_refused():
    class Doubling(nn.Linear):
        def forward(self, x):
            return super().forward(x.mul_(2))

    teacher = nn.Sequential(nn.Linear(3, 3), Doubling(3, 3))
    pairs = (Pair(teacher="1", student="1"),)
    with pytest.raises(ValueError, match="student='1'; it overwrites its input in place"):
        distill(
            copy.deepcopy(teacher),
            teacher,
            [torch.ones(2, 3)],
            objectives=[LocalAttention(pairs=pairs)],
            config=DistillConfig(steps=1),
        )
