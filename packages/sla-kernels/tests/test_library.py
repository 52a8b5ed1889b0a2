"""How operators are declared: by signatures, in which a record stands for its fields."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from sla_kernels import SparseLinearAttention, written_out
from sla_kernels.runtime.library import gathered, schema_of
from sla_kernels.select.blocks import pinned_last
from sla_kernels.select.lists import BlockLists


class Pair(NamedTuple):
    first: Tensor | None
    second: int


def combine(
    x: Tensor, pair: Pair, name: str, *, into: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return x, x


def test_a_record_stands_for_its_fields() -> None:
    expected = "(Tensor x, Tensor? first, SymInt second, str name) -> (Tensor, Tensor)"
    assert schema_of(combine) == expected
    given = gathered(combine, (1, 2, 3, "four"))
    assert given == {"x": 1, "pair": Pair(2, 3), "name": "four"}


def test_a_type_that_no_operator_takes_is_refused() -> None:
    def run(x: Tensor, more: list[int]) -> Tensor:
        return x

    with pytest.raises(KeyError):
        schema_of(run)


@pytest.mark.parametrize("stem", ["sparse_attention", "linear_attention", "sla_attention"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_every_attention_operator_takes_the_same_lists(stem: str, direction: str) -> None:
    operator = getattr(torch.ops.sla_kernels, f"{stem}_{direction}").default
    names = [argument.name for argument in operator._schema.arguments]
    at = names.index("indices")
    assert tuple(names[at : at + len(BlockLists._fields)]) == BlockLists._fields


@pytest.mark.parametrize(
    "settings",
    [
        {"keep": 0.5, "block": (16, 16)},
        {"keep": 2, "block": (16, 4), "order": "content", "summary": (4, 16), "axes": 4,
         "opened": 2, "linear": None},
    ],
    ids=["blocks", "rows"],
)  # fmt: skip
def test_written_out_a_graph_holds_pytorchs_operators_alone(settings: dict[str, Any]) -> None:
    module = SparseLinearAttention(32, backend="reference", **settings).eval()
    q, k, v = (torch.randn(1, 2, 48, 32) for _ in range(3))
    with torch.no_grad():
        expected = module(q, k, v)
        foreign = torch.export.export(module, (q, k, v), strict=False)
        with written_out():
            torch.testing.assert_close(module(q, k, v), expected)
            graph = torch.export.export(module, (q, k, v), strict=False)
    assert "sla_kernels" in str(foreign.graph)
    assert "sla_kernels" not in str(graph.graph)
    torch.testing.assert_close(graph.module()(q, k, v), expected)


@pytest.mark.parametrize("order", ["content", "sequence"])
def test_rows_that_are_chosen_are_not_written_out(order: str) -> None:
    module = SparseLinearAttention(
        32, keep=2, block=(16, 4), order=order, summary=(4, 16), axes=4, opened=2, linear=None,
        backend="reference",
    )  # fmt: skip
    q, k, v = (torch.randn(1, 2, 600, 32) for _ in range(3))
    with pytest.raises(ValueError, match="choose blocks in sequence"), written_out():
        torch.export.export(module, (q, k, v), strict=False)
    assert module(q, k, v).shape == q.shape


def test_pinned_tokens_come_last_and_each_part_stays_in_sequence() -> None:
    for pinned in ([], [0], [3, 1], [5, 0, 2], list(range(6))):
        rest = [place for place in range(6) if place not in pinned]
        found = pinned_last(6, torch.tensor(pinned, dtype=torch.int64))
        assert found.tolist() == rest + sorted(pinned)
