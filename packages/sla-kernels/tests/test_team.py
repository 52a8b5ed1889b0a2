"""Work that is shared by the threads of PyTorch."""

import threading

import pytest
import torch

from sla_kernels.runtime import team
from sla_kernels.runtime.team import shared


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


def test_who_has_a_part_does_what_is_shared_in_it_alone_and_without_gradients() -> None:
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)

    def work(_: int) -> None:
        me, done = threading.get_ident(), []
        shared(lambda number: done.append((number, threading.get_ident())), 3)
        assert done == [(number, me) for number in range(3)]
        seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled(), team.size()))

    with torch.inference_mode():
        shared(work, 4)
    shared(work, 4)
    torch.set_num_threads(before)
    alone = 1 if team._team() is not None else seen[0][2]
    assert seen == [(True, False, alone)] * 4 + [(False, False, alone)] * 4
    assert torch.is_grad_enabled()


def test_no_more_threads_take_part_than_may() -> None:
    before, who = torch.get_num_threads(), set()
    torch.set_num_threads(3)
    shared(lambda _: who.add(threading.get_ident()), 100, most=1)
    torch.set_num_threads(before)
    assert who == {threading.get_ident()}


def test_without_a_team_the_caller_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_team", lambda: None)
    done: list[int] = []
    shared(done.append, 5)
    assert done == [0, 1, 2, 3, 4]
    assert team.is_whole() == (torch.get_num_threads() == 1)
