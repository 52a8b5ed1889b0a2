"""Modules are given back as they were."""

import copy

import torch
from torch import nn

from distill.step.recompute import recomputed_activations


def test_a_forward_that_somebody_put_into_a_module_stays_there():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    x = torch.randn(2, 3)
    model[0].forward = lambda given: nn.functional.linear(given, model[0].weight)
    expected = model(x)
    with recomputed_activations(model, ["?"]) as names:
        assert names == ["0", "1"] and torch.equal(model(x), expected)
    assert torch.equal(model(x), expected)
    assert "forward" in vars(model[0]) and "forward" not in vars(model[1])


def test_the_second_pass_reads_the_buffers_of_the_first_and_changes_none():
    class Largest(nn.Module):
        """Replaces a buffer, makes another, and overwrites a third, as a batch norm does."""

        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("scale", torch.ones(1))

        def forward(self, x):
            first = not hasattr(self, "made")
            y = x * self.scale.clone()
            y = y.tanh() if first else y
            self.seen = self.seen + x.detach().abs().max()
            self.scale.copy_(self.seen)
            self.register_buffer("made", torch.zeros(1))
            return y * self.seen

    def run(patterns):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Sequential(nn.BatchNorm1d(3), Largest(), nn.Linear(3, 3)))
        found = []
        with recomputed_activations(model, patterns):
            for _ in range(3):
                loss = sum(model(torch.randn(8, 3)).square().mean() for _ in range(2))
                loss.backward()
                found.append({name: b.tolist() for name, b in model.named_buffers()})
        return found, [p.grad.tolist() for p in model.parameters()]

    plain, recomputed = run(()), run(("0",))
    assert plain == recomputed and plain[0][2]["0.0.num_batches_tracked"] == 6


def test_a_copy_that_is_made_meanwhile_is_a_model_of_its_own():
    model, x = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.ones(2, 3)
    with recomputed_activations(model, ["?"]):
        copied = copy.deepcopy(model)
        for parameter in copied.parameters():
            parameter.data.zero_()
        for enabled in (True, False):
            with torch.set_grad_enabled(enabled):
                assert not copied(x).any() and model(x).any()
