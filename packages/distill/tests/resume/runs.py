"""Runs of a student that is trained by its attentions, and a reporter that acts."""

import torch

from distill import DistillConfig, Pair, Quiet, freeze_except
from distill.resume.checkpoint import list_checkpoints

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
