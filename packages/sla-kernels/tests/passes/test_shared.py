"""Work that the threads of PyTorch share, with no Python on the way, and what passes rest on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

numba = pytest.importorskip("numba")
team = pytest.importorskip("sla_kernels.passes.team")
mass = pytest.importorskip("sla_kernels.passes.mass")


@team.shared
def _count(number, done, weight):  # type: ignore[no-untyped-def]
    if weight < 0 and number == 3:
        raise ValueError("no room")
    done[number] += weight * (number + 1)


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def count_all(count, threads, done, weight):  # type: ignore[no-untyped-def]
    _count(count, threads, (done, weight))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_every_number_is_done_once(threads: int, count: int) -> None:
    done = np.zeros(count + 1)
    for _ in range(20):
        count_all(count, threads, done, 2.0)
    assert (done == 40 * np.arange(1, count + 2) * (np.arange(count + 1) < count)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_on_any_thread_is_raised_where_all_come_together(threads: int) -> None:
    with pytest.raises(MemoryError):
        count_all(8, threads, np.zeros(8), -1.0)
    done = np.zeros(8)
    count_all(8, threads, done, 1.0)
    assert done.sum() == 36


@settings(deadline=None)  # the first compiles
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=70, unique=True), st.data())
def test_so_many_reach_the_number_that_is_found(numbers: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(numbers)))
    wrong = np.array(numbers, np.int64)
    assert (wrong >= least_of(wrong, count)).sum() == count


@numba.njit  # type: ignore[untyped-decorator]
def least_of(wrong, count):  # type: ignore[no-untyped-def]
    return mass.least_of(wrong, count)


def test_runs_cover_everything_once() -> None:
    for count, each in ((1, 1), (513, 1), (2056, 4), (7, 512), (9, 600)):
        runs = [spans(number, count, each) for number in range(2 * runs_of(count, each))]
        for head in (0, 1):
            covered = [i for h, lo, hi in runs if h == head for i in range(lo, hi)]
            assert covered == list(range(count))


@numba.njit  # type: ignore[untyped-decorator]
def runs_of(count, each):  # type: ignore[no-untyped-def]
    return team.runs_of(count, each)


@numba.njit  # type: ignore[untyped-decorator]
def spans(number, count, each):  # type: ignore[no-untyped-def]
    return team.run_of(number, count, each)
