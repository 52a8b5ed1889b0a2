"""The device that work runs on: the fastest that is there, and refusals of others."""

import pytest
import torch

from recon_eval.efficiency import gpu_name, pick_device, place


def have(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_is_the_fastest_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, cuda=True, mps=True)
    assert pick_device("auto", apple=True) == "cuda"
    have(monkeypatch, mps=True)
    assert pick_device("auto", apple=True) == "mps" == pick_device("mps", apple=True)
    assert gpu_name() == "Apple (mps)"
    assert pick_device("cpu", apple=True) == "cpu"
    have(monkeypatch)
    assert pick_device("auto", apple=True) == "cpu"
    assert gpu_name() is None


def test_work_that_needs_fp8_does_not_run_on_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, mps=True)
    assert pick_device("auto") == "cpu"
    with pytest.raises(ValueError, match=r"device=mps; it has no FP8 .*: use cpu"):
        pick_device("mps")


def test_a_device_that_is_not_there_is_refused_and_one_that_is_there_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    have(monkeypatch, mps=True)
    with pytest.raises(ValueError, match=r"device=cuda; .* use mps"):
        pick_device("cuda", apple=True)
    have(monkeypatch)
    with pytest.raises(ValueError, match=r"device=mps; .* use cpu"):
        pick_device("mps", apple=True)


def test_numbers_are_from_the_gpu_only_where_it_computed_them() -> None:
    here = {"processor": "a CPU", "threads": 2, "gpu": "a GPU"}
    assert place(here) == place(here, "cuda") == "a GPU"
    assert place(here, "cpu") == place(here | {"gpu": None}) == "a CPU, 2 threads"
