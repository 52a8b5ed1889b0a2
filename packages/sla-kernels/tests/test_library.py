"""How operators are declared: by signatures, in which a record stands for its fields."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sla_kernels.runtime.library import gathered, schema_of
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
