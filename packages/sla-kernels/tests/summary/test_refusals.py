"""What is refused of orders, settings and selections that are for others."""

import copy

import pytest
import torch

from sla_kernels import select_rows, sla_attention
from sla_kernels.search import RowChoice

from .selections import draw, few, make, select


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"summary": (4, 10)}, r"summary=\(4, 10\); each must be"),
        ({"summary": (8, 16), "block": (16, 4)}, "the smallest cells must be the key blocks"),
        ({"order": "random"}, "order='random'; it must be"),
        ({"opened": 0}, "opened=0; it must be a whole number"),
        ({"axes": 99}, "axes=99 with keys of 16 features"),
        ({"axes": torch.randn(3, 2)}, r"axes has shape \(3, 2\)"),
        ({"keep": 0}, "keep=0; it must be"),
        ({"pinned": torch.tensor([500])}, "pinned spans 500"),
    ],
)
def test_what_cannot_be_chosen_is_refused(options: dict[str, object], message: str) -> None:
    q, k, v = draw(100, 100)
    made = {"keep": 2, "block": (16, 4), "summary": (4, 16), "axes": 4, **options}
    with pytest.raises(ValueError, match=message):
        select_rows(q, k, v, **made)


@pytest.mark.parametrize("order", [None, "random"])
def test_an_order_that_is_none_is_refused_when_the_settings_are_made(order: object) -> None:
    """Put in behind the type checker that tests run with."""
    choice = copy.copy(RowChoice(keep=2))
    object.__setattr__(choice, "order", order)
    with pytest.raises(ValueError, match=rf"order={order!r}; .*'sequence', 'content'"):
        choice.__post_init__()


def test_an_order_may_look_along_as_many_axes_as_keys_have_features() -> None:
    q, k, v = draw(100, 100)
    whole = select_rows(
        q, k, v, keep=2, block=(16, 4), summary=(4, 16), axes=k.shape[1] * k.shape[3]
    )
    every = torch.arange(100).expand_as(whole.order)
    assert torch.equal(whole.order.sort(1).values, every)


def test_a_selection_for_other_tokens_is_refused() -> None:
    q, k, v = draw(100, 100)
    with pytest.raises(ValueError, match="selection was made for"):
        sla_attention(*draw(99, 99), selection=select(q, k, v), linear=None)
    with pytest.raises(ValueError, match="linear='complement' with order"):
        sla_attention(q, k, v, selection=select(q, k, v), linear="complement")
    with pytest.raises(ValueError, match=r"top_p=0\.5"):
        make(top_p=0.5)
    with pytest.raises(ValueError, match="backend='flex'"):
        sla_attention(q, k, v, selection=few(q, k, v), linear=None, backend="flex")


@pytest.mark.parametrize("keep", [3, 1.0])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_selection_for_other_heads_of_keys_is_refused(groups: int, keep: float) -> None:
    q, k, v = draw(200, 200, heads=4)
    selection = select(q, k, v, keep=keep)
    for backend in ("auto", "eager", "reference"):
        with pytest.raises(ValueError, match=f"k has {groups} heads and those .* were 2; .*anew"):
            sla_attention(
                q, *draw(200, 200, groups=groups)[1:], selection=selection, linear=None,
                backend=backend,
            )  # fmt: skip
