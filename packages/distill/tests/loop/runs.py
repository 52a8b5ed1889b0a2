"""Short runs of a student that is trained by its attentions, and one that dies on the way."""

import torch

import distill as package
from distill import DistillConfig, Pair

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(
    steps=12, learning_rate=1e-2, warmup_steps=2, checkpoint_every=4, ema_decay=0.9
)


class Stop(Exception):
    pass


class StopAfter(package.Quiet):
    """Dies in the middle of a run, as a stand-in for anything that can go wrong."""

    def __init__(self, step):
        self.step = step

    def stepped(self, record):
        if record.step == self.step:
            raise Stop


def trainee(models, **kwargs):
    teacher, student = models(**kwargs)
    package.freeze_except(student, "*.proj_l.*")
    return teacher, student


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different
