"""Under autocast tokens are rounded once; what is made of them is as exact as without it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sla_kernels import (
    SparseLinearAttention,
    block_sparse_attention,
    corrected,
    observed_mass,
    order_tokens,
    select_blocks,
    sla_attention,
)

from .cases import qkv

ROWS = {"keep": 8, "block": (64, 4), "order": "content", "summary": (4, 64), "opened": 4, "axes": 4}


def lse(q: Tensor, k: Tensor, v: Tensor, **options: str) -> Tensor:
    chosen = select_blocks(q, k, keep=0.3, block=(32, 16))
    return block_sparse_attention(q, k, v, chosen, return_lse=True, **options)[1]


def both(q: Tensor, k: Tensor, v: Tensor, **options: str) -> Tensor:
    return sla_attention(q, k, v, keep=0.3, block=(32, 16), **options)


def understated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    attention = SparseLinearAttention(32, linear=None, **ROWS)
    attention.directions = torch.eye(64)[:, :4]
    with torch.no_grad(), corrected(attention):
        attention(q, k, v)
    return attention.offsets


def held(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    attention = SparseLinearAttention(32, linear=None, **ROWS)
    with torch.no_grad(), observed_mass(attention) as found:
        attention(q, k, v)
    return torch.tensor([*found[""].values()])


def order(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return order_tokens((k[0] / 3).float(), 4).positions


@pytest.mark.parametrize("made", [lse, both, understated, held, order])
def test_what_is_made_of_rounded_tokens_is_the_same_with_autocast(
    made: Callable[..., Tensor],
) -> None:
    tokens = [x.bfloat16() for x in qkv(2000, 2000)]
    tokens[0] *= 3
    options = {"backend": "reference"} if made in (lse, both) else {}
    plain = made(*tokens, **options)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(*tokens, **options)
    assert found.dtype == plain.dtype and torch.equal(found, plain)
