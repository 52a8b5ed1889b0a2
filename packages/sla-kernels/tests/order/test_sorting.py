"""Sorting on a CPU: the same order as PyTorch's stable sorts, whatever the numbers."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from sla_kernels.order.sorting import split_largest, stable_argsort

NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]),
)


@given(st.lists(st.lists(NUMBERS, min_size=7, max_size=7), min_size=1, max_size=4))
def test_places_are_those_of_a_stable_sort(rows: list[list[float]]) -> None:
    values = torch.tensor(rows)
    assert torch.equal(stable_argsort(values), values.double().argsort(dim=-1, stable=True))


@given(st.lists(NUMBERS.filter(lambda x: x == x), min_size=1, max_size=40), st.data())
def test_the_largest_are_no_smaller_than_the_others(row: list[float], data: st.DataObject) -> None:
    values = torch.tensor([row])
    count = data.draw(st.integers(0, len(row)))
    for given_values in (values, values.double()):  # packed, and by PyTorch
        best, rest = (x[0] for x in split_largest(given_values, count))
        assert sorted([*best.tolist(), *rest.tolist()]) == list(range(len(row)))
        assert rest.tolist() == sorted(rest.tolist())
        if 0 < count < len(row):
            assert values[0, best].min() >= values[0, rest].max()
