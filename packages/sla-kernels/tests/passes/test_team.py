"""Work that is shared by the threads of PyTorch."""

import threading

import pytest
import torch

from sla_kernels.passes import team
from sla_kernels.passes.team import shared


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_every_number_is_done_once(threads: int, count: int) -> None:
    before, done = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    shared(done.append, count)
    torch.set_num_threads(before)
    assert sorted(done) == list(range(count))


def test_several_threads_take_part_where_there_is_a_team() -> None:
    if team._team() is None:
        pytest.skip("this PyTorch brings no GNU OpenMP along")
    before, both = torch.get_num_threads(), threading.Barrier(2, timeout=20)
    torch.set_num_threads(2)
    shared(lambda _: both.wait(), 2)  # neither goes on until two threads are there
    torch.set_num_threads(before)
    assert not both.broken


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_failure_is_raised_and_the_rest_left_out(threads: int) -> None:
    before, done = torch.get_num_threads(), []
    torch.set_num_threads(threads)

    def work(number: int) -> None:
        done.append(number)
        if number == 3:
            raise KeyboardInterrupt("three")

    with pytest.raises(KeyboardInterrupt, match="three"):
        shared(work, 10_000)
    torch.set_num_threads(before)
    assert len(done) < 10_000


def test_without_a_team_the_caller_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_team", lambda: None)
    done: list[int] = []
    shared(done.append, 5)
    assert done == [0, 1, 2, 3, 4]
    assert team.is_whole() == (torch.get_num_threads() == 1)
