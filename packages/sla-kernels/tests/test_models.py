"""What calibration stored: kept at float32 beside other weights, or dropped."""

import copy

import pytest
import torch
from torch import nn

from sla_kernels import SparseLinearAttention, change_dtype, forget_calibration, stored_calibration


@pytest.fixture
def model() -> nn.ModuleDict:
    attention = SparseLinearAttention(8, keep=2, block=(16, 4), order="content", summary=(4,))
    attention.directions, attention.offsets = torch.rand(16, 4), torch.rand(2, 1)
    return nn.ModuleDict({"attention": attention, "layer": nn.Linear(8, 8)})


def test_the_number_type_changes_but_not_that_of_what_is_stored(model: nn.ModuleDict) -> None:
    before = {name: found.clone() for name, found in stored_calibration(model).items()}
    assert set(before) == {"attention.directions", "attention.offsets"}
    change_dtype(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, found in stored_calibration(model).items():
        assert torch.equal(found, before[name])


def test_weights_that_another_model_shares_stay_as_they_are_there(model: nn.ModuleDict) -> None:
    shared = copy.deepcopy(model, memo={id(p): p for p in model.parameters()})
    change_dtype(shared, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("names", [("offsets",), ("directions", "offsets"), ()])
def test_what_is_named_is_forgotten_and_all_where_nothing_is(
    model: nn.ModuleDict, names: tuple[str, ...]
) -> None:
    forget_calibration(model, *names)
    left = {"directions", "offsets"} - set(names or ("directions", "offsets"))
    assert {name.rpartition(".")[2] for name in stored_calibration(model)} == left
