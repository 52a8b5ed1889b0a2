"""The module with summaries: its branch, its calibrated axes, in a model of others."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels import SparseLinearAttention, calibrated, sdpa_override, sla_attention

from .selections import dense, draw, make, select


def test_the_module_is_the_function() -> None:
    q, k, v = draw(200, 200)
    module, outside = make(linear=None), torch.tensor([0, 64])
    expected = sla_attention(
        q, k, v, keep=3, block=(16, 4), order="content", summary=(4, 16), opened=3, axes=4,
        linear=None, pinned=outside,
    )  # fmt: skip
    assert torch.equal(module(q, k, v, pinned=outside), expected)
    assert torch.equal(
        module.selection(q, k, v, outside).rows, select(q, k, v, pinned=outside).rows
    )


def test_the_linear_branch_adds_its_projection() -> None:
    q, k, v = draw(200, 200)
    module = make(linear="all")
    before = module(q, k, v)
    torch.testing.assert_close(before, make(linear=None)(q, k, v))
    torch.nn.init.eye_(module.proj_l.weight)
    plain = SparseLinearAttention(8, keep=1.0, block=(16, 16)).double()
    torch.nn.init.eye_(plain.proj_l.weight)
    torch.testing.assert_close(module(q, k, v) - before, plain(q, k, v) - dense(q, k, v))


def test_calibrated_axes_are_kept_saved_and_loaded() -> None:
    q, k, v = draw(200, 200)
    module = make()
    with calibrated(module):
        module(q, k, v)
        module(q, 2 * k, v)
    assert module.directions.shape == (16, 4)
    other = make()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(q, k, v), module(q, k, v))
    assert torch.equal(copy.deepcopy(module)(q, k, v), module(q, k, v))


def test_an_attention_that_did_not_run_is_not_calibrated() -> None:
    module = torch.nn.ModuleList([make(), make()])
    q, k, v = draw(200, 200)
    with pytest.raises(ValueError, match="attention '1' saw no keys"), calibrated(module):
        module[0](q, k, v)
    assert module[0].directions is None
    assert module[0].watch is None


def test_a_model_of_others_runs_with_one_order_and_summaries_its_code_unchanged() -> None:
    class Model(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v)

    q, k, v = draw(200, 200)
    model, attention = Model(), make(linear=None)
    with sdpa_override(model, lambda site: attention):
        found = model(q, k, v)
    assert torch.equal(found, attention(q, k, v))
    assert torch.equal(model(q, k, v), dense(q, k, v))
