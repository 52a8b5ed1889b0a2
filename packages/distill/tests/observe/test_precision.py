"""A caller's own autocast keeps copies of weights: none of them outlives an update."""

from contextlib import nullcontext

import torch
from torch import nn

from distill import Consistency, DistillConfig, Pair, Pose, distill, freeze_except

PAIRS = [Pair(teacher="blocks.2.attn", student="blocks.2.attn")]


def rounded(on=True):
    return torch.autocast("cpu", torch.bfloat16) if on else nullcontext()


def trained(models, batches, *, inside, **options):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    config = DistillConfig(steps=6, learning_rate=1e-2, evaluate_every=2, monitor="mean", **options)

    def evaluate(model):
        return {"mean": model(batches[0])["tokens"].float().mean().detach()}

    with rounded(inside):
        result = distill(student, teacher, batches, pairs=PAIRS, config=config, evaluate=evaluate)
        after = evaluate(student)["mean"]
    with rounded(inside):
        assert evaluate(student)["mean"] == after
    return result, float(after)


def test_a_run_inside_autocast_equals_one_outside(models, batches):
    losses = []
    for inside in (False, True):
        result, _ = trained(models, batches, inside=inside, autocast="bfloat16")
        losses.append([e["losses"]["loss"] for e in result.history if e["kind"] == "step"])
    assert losses[0] == losses[1]


def test_inside_autocast_the_weights_of_now_are_evaluated(models, batches):
    result, after = trained(models, batches, inside=True)
    means = [e["metrics"]["mean"] for e in result.history if e["kind"] == "evaluation"]
    assert len(set(means)) == 3 and means[-1] == after


class Cameras(nn.Module):
    """Three views with one parameter; a product in bfloat16 moves their pixels by several."""

    def __init__(self, shift):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, views):
        lens = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
        poses = torch.eye(3, 4).repeat(1, 3, 1, 1)
        poses[..., 0, 3] = self.shift * torch.arange(3)
        depth = 3 + self.shift * torch.linspace(0, 1, 640).expand(1, 3, 480, 640)
        return {"depth": depth, "world_to_camera": poses, "intrinsics": lens.expand(1, 3, 3, 3)}


def test_objectives_compare_in_full_precision_inside_a_callers_autocast():
    told = []
    for on in (False, True):
        with rounded(on):
            result = distill(
                Cameras(0.15),
                Cameras(0.1),
                [0],
                objectives=[Pose(), Consistency()],
                config=DistillConfig(steps=1),
                held_out=[0],
            )
        told.append((result.losses, result.metrics))
    assert told[0] == told[1]
