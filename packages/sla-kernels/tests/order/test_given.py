"""Orders that come as callables, and one that several attentions share."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sla_kernels import SharedOrder, SparseLinearAttention, explain, order_tokens, select_rows

SIZES = (4, 16)
SETTINGS = {"keep": 3, "block": (16, 4), "summary": SIZES, "opened": 3}


def draw(tokens: int = 300, batch: int = 1) -> list[Tensor]:
    return [torch.randn(batch, 2, tokens, 8) for _ in range(3)]


def test_an_order_of_keys_that_a_caller_makes_is_the_order_by_content() -> None:
    q, k, v = draw(batch=2)
    pinned = torch.tensor([5, 100])
    axes = torch.linalg.qr(torch.randn(16, 4)).Q

    def ordering(keys: Tensor) -> Tensor:
        assert keys.shape == (2, 298, 16)
        return order_tokens(keys, SIZES, axes=axes).positions

    asked, made = (
        select_rows(q, k, v, **SETTINGS, axes=axes, pinned=pinned, order=order)
        for order in ("content", ordering)
    )
    assert (asked.order == made.order).float().mean() > 0.9  # sums over heads are rounded apart
    assert torch.equal(made.order.sort(1).values, asked.order.sort(1).values)


def test_an_order_as_it_comes_is_sequence() -> None:
    q, k, v = draw()
    plain = select_rows(q, k, v, **SETTINGS, order="sequence")
    same = select_rows(q, k, v, **SETTINGS, order=lambda x: torch.arange(300)[None])
    assert torch.equal(plain.order, same.order)
    assert torch.equal(plain.rows, same.rows)


def test_a_shared_order_is_made_at_the_first_attention_and_serves_the_next() -> None:
    shared = SharedOrder(SIZES, axes=4)
    first, later = (
        SparseLinearAttention(8, **SETTINGS, order=order, linear=None)
        for order in (shared.make, shared.last)
    )
    one, other = draw(), draw()
    made, kept = first.selection(*one), later.selection(*other)
    assert torch.equal(made.order, kept.order)
    assert torch.equal(made.order, first.selection(one[2], one[1], one[0]).order)  # by keys alone
    assert not torch.equal(made.order, first.selection(*other).order)
    assert later(*other).isfinite().all()
    with pytest.raises(ValueError, match=r"for keys of \(b, n\) = \(1, 400\); it must have been"):
        later(*draw(400))
    with pytest.raises(ValueError, match="shared order=None"):
        SharedOrder(SIZES).last(torch.randn(1, 9, 3))


def test_gradients_are_the_same_where_a_checkpoint_runs_attentions_anew() -> None:
    q, k, v = draw()

    def gradients(anew: bool) -> list[Tensor]:
        shared = SharedOrder(SIZES, axes=4)
        leaves, x = [t.clone().requires_grad_() for t in (q, k, v)], q
        for order in (shared.make, shared.last, shared.last):
            layer = SparseLinearAttention(8, **SETTINGS, order=order, linear=None)
            run = partial(checkpoint, layer, use_reentrant=False) if anew else layer
            x = run(leaves[0] + x, leaves[1] * x, leaves[2])
        return list(torch.autograd.grad(x.square().sum(), leaves))

    for one, other in zip(gradients(anew=False), gradients(anew=True), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("ordering", "message"),
    [
        (lambda x: torch.zeros(1, 300, dtype=torch.int64), "no permutation"),
        (lambda x: torch.arange(299)[None], r"order made shape \(1, 299\)"),
        (lambda x: torch.arange(300.0)[None], "of torch.float32"),
    ],
)
def test_what_is_no_order_is_refused(ordering: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_rows(*draw(), **SETTINGS, order=ordering)


def test_explain_says_that_the_order_was_given() -> None:
    q, k, _ = draw()
    found = explain(q, k, **SETTINGS, order=lambda x: torch.arange(300)[None])
    assert "in a given order" in str(found)
