"""Where every key is attended, or no list is shorter, attention is dense and nothing else."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sla_kernels import SummarySelection, explain, select_rows, sla_attention
from sla_kernels.search import RowChoice

from .selections import dense, draw, few, make, select


@pytest.mark.parametrize(("summary", "few", "many"), [((4, 16), 1, 20), (None, 7, 8)])
def test_long_lists_become_dense_attention(
    summary: tuple[int, ...] | None, few: int, many: int
) -> None:
    """Of 96 tokens 28 may be listed: 7 blocks of 4 without summaries."""
    q, k, v = draw(96, 96)
    assert not select(q, k, v, keep=few, summary=summary).keeps_all
    selection = select(q, k, v, keep=many, summary=summary)
    assert selection.keeps_all
    assert explain(q, k, selection=selection).backend == "dense"


@pytest.mark.parametrize(
    ("tokens", "sizes"), [(8192, (4, 64)), (8224, (4, 64)), (16448, (4, 64, 512))]
)
def test_sizes_that_make_no_list_shorter_are_not_searched(
    tokens: int, sizes: tuple[int, ...]
) -> None:
    choice = RowChoice(keep=32, opened=16, summary=(4, 64, 512, 4096))
    assert choice.plan(tokens, 0, 64).sizes == sizes


class Called(TorchDispatchMode):
    """Notes the operators that run, but for those that only set memory aside."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is not torch.ops.aten.empty.memory_format:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("heads", [2, 4])
def test_gradients_with_pinned_tokens_are_the_same_within_a_dispatch_mode(heads: int) -> None:
    x = [part.requires_grad_() for part in draw(70, 70, heads=heads)]
    chosen = few(*(part.detach() for part in x), pinned=torch.tensor([3, 40]))

    def pull_back() -> tuple[Tensor, ...]:
        out = sla_attention(*x, selection=chosen, linear=None)
        return torch.autograd.grad(out.square().sum(), x)

    expected = pull_back()
    with Called():
        found = pull_back()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("options", [{"keep": 1.0}, {"keep": 3, "all_below": 71}])
def test_attention_to_every_key_runs_dense_attention_and_nothing_else(options: dict) -> None:
    x = draw(70, 70)
    attention = make(linear=None)
    attention.choice = replace(attention.choice, **options)
    with Called() as alone:
        F.scaled_dot_product_attention(*x)
    with Called() as found:
        attention(*x)
    given = attention.selection(*x)
    with Called() as again:
        sla_attention(*x, selection=given, linear=None)
    assert found.names == again.names == alone.names
    assert attention.selection(*x).density == 1


@pytest.mark.parametrize("pins", [0, 2])
@pytest.mark.parametrize("tokens", [1, 64, 70, 300])
def test_a_selection_of_every_key_says_what_its_lists_say(tokens: int, pins: int) -> None:
    pinned = torch.arange(min(pins, tokens - 1)) * 3
    for keys in (tokens, tokens + 9):
        q, k, v = draw(tokens, keys, heads=4, batch=2)
        chosen = select(q, k, v, keep=1.0, pinned=pinned if keys == tokens else None)
        assert chosen.keeps_all and chosen.density == 1 and chosen.token_mask().all()
        assert (*chosen.batch_heads, chosen.query_blocks, chosen.keys_seen) == chosen.rows.shape
        assert chosen.order.shape == (2, chosen.layout.tokens)
        assert chosen.tilt.shape == (2, 2, chosen.layout.padded)
        fields = {name: getattr(chosen, name) for name in chosen.__dataclass_fields__}
        told = SummarySelection(**fields)  # as one that was made with lists
        for name in ("batch_heads", "query_blocks", "keys_seen", "density", "keeps_all", "block"):
            assert getattr(told, name) == getattr(chosen, name), name
        listed = sla_attention(q, k, v, selection=told, linear=None, backend="eager")
        torch.testing.assert_close(listed, dense(q, k, v))


def test_keeping_everything_lists_every_token_once_and_stores_one_list() -> None:
    q, k, v = draw(70, 70)
    selection = select_rows(q, k, v, keep=1.0, pinned=torch.tensor([0, 41]))
    layout = selection.layout
    assert selection.rows.untyped_storage().nbytes() == 4 * selection.keys_seen
    found = selection.rows[0, 0, 0]
    real = found[found != layout.nothing]
    tokens = torch.arange(layout.tokens)
    last = layout.first(len(layout.sizes)) + torch.arange(2)
    assert torch.equal(real.long().sort().values, torch.cat([tokens, last]).sort().values)
    both = torch.cat([selection.order[0], selection.outside])
    assert torch.equal(both.sort().values, torch.arange(70))
