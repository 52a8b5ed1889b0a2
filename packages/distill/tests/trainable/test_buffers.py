"""Buffers come back as they were, whether they are small or large, changed or replaced."""

import pytest
import torch
from torch import nn

from distill.trainable.buffers import SMALL_BYTES, Buffers, Unfinished


def model():
    module = nn.Linear(2, 2)
    module.register_buffer("small", torch.arange(4.0))
    module.register_buffer("large", torch.zeros(SMALL_BYTES // 4 + 1), persistent=False)
    return module


def test_only_what_changed_is_named():
    module = model()
    buffers = Buffers(module)
    assert buffers.changed() == {}
    module.small.mul_(1)
    assert buffers.changed() == {}
    module.small.data.add_(1)
    module.large = module.large.clone()
    module.register_buffer("new", torch.ones(2))
    assert set(buffers.changed()) == {"small", "large", "new"}


def test_buffers_go_back_to_a_capture_and_to_the_start():
    module = model()
    buffers = Buffers(module)
    module.small.add_(1)
    kept = {name: tensor.clone() for name, tensor in buffers.changed().items()}
    module.small.add_(1)
    module.large = torch.ones_like(module.large)
    buffers.restore(kept)
    assert torch.equal(module.small, torch.arange(4.0) + 1) and not module.large.any()
    buffers.restore({})
    assert torch.equal(module.small, torch.arange(4.0))
    kept["small"].zero_()
    assert torch.equal(module.small, torch.arange(4.0))
    assert "large" not in module.state_dict() and "small" in module.state_dict()


def test_a_large_buffer_overwritten_in_place_is_saved_and_cannot_go_back():
    module = model()
    buffers = Buffers(module)
    module.large.add_(1)
    assert set(buffers.changed()) == {"large"}
    with pytest.raises(ValueError, match=r"buffer='large' \(1 MiB\); it was overwritten in place"):
        buffers.restore({})
    buffers.restore({"large": torch.full_like(module.large, 2.0)})
    assert (module.large == 2).all()


def test_what_a_former_session_changed_stays_named_in_the_next():
    module = model()
    first = Buffers(module)
    module.small.fill_(7)
    kept = {name: tensor.clone() for name, tensor in first.changed().items()}
    second = Buffers(module)  # of the same model, which holds what the first session left
    second.restore(kept)
    assert set(second.changed()) == {"small"}
    second.restore({})
    assert (module.small == 7).all()


class Counting(nn.Linear):
    """Counts its passes in a tensor of its own, which it makes then, and in one it is given."""

    def __init__(self, shared):
        super().__init__(2, 2)
        self.register_buffer("shared", shared)

    def forward(self, x):
        if not hasattr(self, "own"):
            self.register_buffer("own", torch.zeros(()))
        self.own.add_(1)
        self.shared.add_(1)
        return super().forward(x)


def test_a_buffer_that_modules_share_stays_shared_and_a_new_one_stays_a_buffer():
    def made():
        shared = torch.zeros(())
        return nn.Sequential(Counting(shared), Counting(shared))

    model, x = made(), torch.ones(1, 2)
    first = Buffers(model)
    model(x)
    kept = {name: tensor.clone() for name, tensor in first.changed().items()}
    assert set(kept) == {"0.shared", "0.own", "1.own"}
    first.restore({})
    assert model[0].shared == 0 and model[1].shared is model[0].shared
    again = made()
    second = Buffers(again)
    second.restore(kept)
    again(x)
    assert again[0].shared == 4 and again[1].shared is again[0].shared
    assert {name: int(tensor) for name, tensor in second.changed().items()} == {
        "0.shared": 4,
        "0.own": 2,
        "1.own": 2,
    }


def test_what_was_not_there_at_the_point_gone_back_to_is_taken_away():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].register_buffer("filled", None)
    model[1].register_buffer("grown", torch.empty(0), persistent=False)
    buffers = Buffers(model)
    model[0].filled = torch.full((2,), torch.nan)
    model[1].grown = torch.full((2,), torch.nan)
    model[1].register_buffer("made", model[0].filled)  # one tensor of two names
    kept = {name: tensor.clone() for name, tensor in buffers.changed().items()}
    buffers.restore({})
    assert model[0].filled is None and model[1].grown.shape == (0,)
    assert not hasattr(model[1], "made") and buffers.changed() == {}
    buffers.restore(kept)
    assert set(buffers.changed()) == set(kept) == {"0.filled", "1.grown"}
    buffers.restore({"1.grown": torch.ones(2)})
    assert model[0].filled is None and torch.equal(model[1].grown, torch.ones(2))


def test_buffers_that_were_made_in_inference_mode_are_known_and_come_back():
    module = model()
    with torch.inference_mode():
        module.register_buffer("table", torch.arange(3.0))
        module.large = torch.ones_like(module.large)
    buffers = Buffers(module)
    assert buffers.changed() == {}
    module.table = module.table + 1
    assert set(buffers.changed()) == {"table"}
    buffers.restore({})
    assert torch.equal(module.table, torch.arange(3.0))


def test_a_step_that_does_not_end_gives_back_what_it_changed():
    shared = torch.zeros(())
    model, x = (
        nn.Sequential(Counting(shared), nn.BatchNorm1d(2), Counting(shared)),
        torch.ones(4, 2),
    )
    step = Unfinished(model)
    assert step.undo()
    step.begin()
    model(x)
    assert model[0].shared == 2 and model[1].num_batches_tracked == 1
    assert step.undo() and model[0].shared == 0 and model[1].num_batches_tracked == 0
    assert model[1].running_var.tolist() == [1, 1]
    model(x)
    step.end()
    step.begin()
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(x)
    assert step.undo()
    assert {name: b.tolist() for name, b in model.named_buffers()} == {
        name: b.tolist() for name, b in kept.items()
    }
    assert model[2].shared is model[0].shared
    model(x)
    step.end()
    assert step.undo() and model[0].shared == 4
