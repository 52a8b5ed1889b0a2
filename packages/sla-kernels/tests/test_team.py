"""The threads of PyTorch."""

import pytest
import torch

from sla_kernels.runtime import team


@pytest.mark.parametrize("threads", [1, 3])
def test_a_team_is_whole_where_there_is_one(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = team.size(), team.is_whole()
    torch.set_num_threads(before)
    assert found == ((threads, True) if team._library() is not None else (1, threads == 1))


def test_without_a_team_the_caller_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_library", lambda: None)
    assert team.size() == 1
    assert team.is_whole() == (torch.get_num_threads() == 1)
    assert all(team.entries())
