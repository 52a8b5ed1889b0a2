import pytest
import torch
from torch import nn

from sla_kernels import SparseLinearAttention, attend_all_below, short_on

from .cases import qkv


def rows() -> SparseLinearAttention:
    return SparseLinearAttention(
        32, keep=2, block=(16, 4), order="content", summary=(4, 16), opened=2, axes=2, linear=None
    )


def test_a_model_that_runs_attends_every_key_where_there_are_few() -> None:
    model = nn.ModuleList([rows(), SparseLinearAttention(32, keep=0.5)])
    tiles = model[1].choice
    q, k, v = qkv(256, 256, d=32)
    assert model[0].selection(q, k, v).density < 0.2
    attend_all_below(model, 257)
    assert model[0].selection(q, k, v).density == 1
    dense = nn.functional.scaled_dot_product_attention(
        q, *(x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    )
    torch.testing.assert_close(model[0](q, k, v), dense)
    assert model[1].choice == tiles


@pytest.mark.parametrize("tokens", [0, 256])
def test_from_that_number_on_it_chooses_again(tokens: int) -> None:
    model = rows()
    q, k, v = qkv(256, 256, d=32)
    before = model.selection(q, k, v)
    attend_all_below(model, 999)
    attend_all_below(model, tokens)
    assert torch.equal(model.selection(q, k, v).rows, before.rows)


def test_a_device_that_nothing_is_known_of_always_chooses() -> None:
    assert short_on("mps") == 0 < short_on(torch.device("cuda", 0))


def test_fewer_tokens_than_none_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens=-1; it must be at least 0"):
        attend_all_below(rows(), -1)
