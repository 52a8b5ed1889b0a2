"""Sorting on a CPU: the same order as PyTorch's stable sorts, whatever the numbers."""

import math

import numpy as np
import pytest
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


def test_passes_take_zeros_of_either_sign_for_one_and_nan_for_the_largest() -> None:
    numba = pytest.importorskip("numba")
    scalar = pytest.importorskip("sla_kernels.passes.scalar")

    def pack(values, found):  # type: ignore[no-untyped-def]
        for i in range(len(values)):
            found[i] = packed(values[i], i)

    packed, found = scalar.packed, np.empty(6, np.int64)
    values = np.array([math.nan, 0.0, -0.0, -1e-45, -math.nan, 1e-45], np.float32)
    numba.njit(pack, **scalar._SETTINGS)(values, found)
    assert found.argsort().tolist() == [3, 1, 2, 5, 0, 4]
