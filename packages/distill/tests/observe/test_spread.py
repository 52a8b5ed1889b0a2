"""Processes that share the weights of a model run the same of its modules."""

import pytest
import torch

from distill import AttentionOutputs, Pair
from distill.objectives.objective import reading_of
from distill.observe.observer import Observer
from distill.processes.world import World


@pytest.mark.parametrize("others_know", [True, False])
def test_a_pass_ends_early_only_where_it_does_in_every_process(
    models, batches, monkeypatch, others_know
):
    teacher, student = models()
    heads = {"teacher": 0, "student": 0}

    def count(role):
        def hook(*_):
            heads[role] += 1

        return hook

    teacher.head.register_forward_hook(count("teacher"))
    student.head.register_forward_hook(count("student"))
    monkeypatch.setattr(World, "any", lambda self, flag: flag or not others_know)
    pairs = (Pair(teacher="blocks.0.attn", student="blocks.0.attn"),)
    reading = reading_of([AttentionOutputs(pairs=pairs)])
    with Observer(student, teacher, reading, spread=("student",)) as observer, torch.no_grad():
        for _ in range(3):
            observer.observe(batches[0], seed=0, calls=dict(observer.calls))
    assert heads == {"teacher": 1, "student": 1 if others_know else 3}
