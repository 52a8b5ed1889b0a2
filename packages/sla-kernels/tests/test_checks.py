"""Public functions refuse tensors of another shape, type, device or batch by name and rule."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sla_kernels import (
    SparseLinearAttention,
    block_sparse_attention,
    explain,
    order_tokens,
    principal_axes,
    select_blocks,
    select_rows,
    sla_attention,
)

Q, K, V = (torch.randn(2, 4, 64, 16) for _ in range(3))
WEIGHT, BIAS, TOKENS = torch.zeros(16, 16), torch.zeros(16), torch.randn(2, 64, 8)
PINNED = torch.tensor([0, 5])
SELECTED = select_blocks(Q, K, keep=0.5, block=(16, 16))
MODULE = SparseLinearAttention(16, keep=0.5, block=(16, 16))
AXES = torch.linalg.qr(torch.randn(64, 8))[0]
SMALL = {"keep": 0.5, "block": (16, 16)}
ROWS = {"keep": 2, "block": (16, 4), "summary": (4, 16), "opened": 1}

CALLS: dict[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "sla_attention": (lambda q, k, v: sla_attention(q, k, v, **SMALL), (Q, K, V)),
    "sla_attention's projection": (
        lambda w, b: sla_attention(Q, K, V, weight=w, bias=b, **SMALL), (WEIGHT, BIAS),
    ),
    "sla_attention's pinned": (lambda p: sla_attention(Q, K, V, pinned=p, **SMALL), (PINNED,)),
    "block_sparse_attention": (
        lambda q, k, v: block_sparse_attention(q, k, v, SELECTED), (Q, K, V),
    ),
    "select_blocks": (lambda q, k: select_blocks(q, k, **SMALL), (Q, K)),
    "select_rows": (lambda q, k, v: select_rows(q, k, v, **ROWS), (Q, K, V)),
    "select_rows's axes": (lambda a: select_rows(Q, K, V, axes=a, **ROWS), (AXES,)),
    "select_rows's pinned": (lambda p: select_rows(Q, K, V, pinned=p, **ROWS), (PINNED,)),
    "order_tokens": (lambda x: order_tokens(x, 4, axes=2), (TOKENS,)),
    "principal_axes": (lambda x: principal_axes(x, 2), (TOKENS,)),
    "explain": (lambda q, k: explain(q, k, **SMALL), (Q, K)),
    "SparseLinearAttention": (MODULE, (Q, K, V)),
}  # fmt: skip
WRONG: dict[str, Callable[[Tensor], object]] = {
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0],
    "a shorter last axis": lambda x: x[..., :-1],
    "half the batch": lambda x: x[:1],
    "another type": lambda x: x.int(),
    "another device": lambda x: x.to("meta"),
    "no tensor": lambda x: x.numpy(),
    "a list": lambda x: x.flatten()[:3].tolist(),
}
TOKENS_OF = ("order_tokens", "principal_axes")
TAKEN = {
    ("select_rows's axes", 0): {"a shorter last axis"},  # an axis less
    **{
        (name, 0): {"half the batch", "a shorter last axis", "another device"} for name in TOKENS_OF
    },
    **{
        (f"{name}'s pinned", 0): {
            "half the batch",
            "a shorter last axis",
        }  # one token is a set, too
        for name in ("sla_attention", "select_rows")
    },
}
REFUSED = r"; .* must |; batch and head width|; no axis may|must agree|Type-check"


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_checked_by_name(name: str, wrong: str) -> None:
    function, arguments = CALLS[name]
    function(*arguments)
    for position, right in enumerate(arguments):
        if wrong in TAKEN.get((name, position), ()):
            continue
        changed: list[object] = list(arguments)
        changed[position] = WRONG[wrong](right)
        with pytest.raises((ValueError, TypeError), match=REFUSED):
            function(*changed)
