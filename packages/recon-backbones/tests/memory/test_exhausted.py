"""Memory that runs out leads to smaller chunks, which change no result."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from recon_backbones import Backbone
from recon_backbones.telling import Advance, Telling
from recon_backbones.views.plan import Plan
from recon_backbones.views.run import Views, is_out_of_memory, run_plan

from .situations import exhausted

CPU_ERROR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "error", [CPU_ERROR, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")]
)
def test_memory_that_runs_out_leads_to_smaller_chunks_and_is_told(
    few_blocks: Backbone, error: Exception
) -> None:
    few, asked = exhausted(few_blocks, 5, error)
    scene = Views(images=torch.rand(12, 3, 42, 56))
    plan = Plan(views=12, window=12, overlap=3)
    said: list[str] = []
    outcome = run_plan(few, scene, plan, Telling(say=said.append))
    assert asked[:3] == [(12, 8), (12, 1), (6, 1)]
    assert set(asked[3:]) == {(3, 1)}
    assert outcome.plan.window == 3
    assert outcome.prediction.depth.shape == (1, 12, 42, 56)
    assert any("memory ran out with all views at once" in sentence for sentence in said)
    assert any("trying windows of 3 views that share 1" in sentence for sentence in said)


def test_the_end_of_the_ladder_is_one_sentence(few_blocks: Backbone) -> None:
    none, _ = exhausted(few_blocks, 0, CPU_ERROR)
    scene = Views(images=torch.rand(6, 3, 28, 28))
    with pytest.raises(ValueError, match=r"memory ran out even with.*size"):
        run_plan(none, scene, Plan(views=6, window=6, overlap=1))


def test_other_errors_are_no_lack_of_memory(backbone: Backbone) -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    wrong, asked = exhausted(backbone, 0, RuntimeError("shapes differ"))
    scene = Views(images=torch.rand(2, 3, 28, 28))
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_plan(wrong, scene, Plan(views=2, window=2, overlap=1))
    assert len(asked) == 1


def test_chunks_change_no_result(backbone: Backbone) -> None:
    scene = Views(images=torch.rand(3, 3, 42, 56))
    plan = Plan(views=3, window=3, overlap=1)
    whole = run_plan(backbone, scene, plan).prediction
    cut = run_plan(backbone, scene, replace(plan, head_chunk=1)).prediction
    torch.testing.assert_close(cut.depth, whole.depth, rtol=1e-4, atol=1e-5)


def test_progress_ends_where_it_should(backbone: Backbone) -> None:
    """As many steps are done as were foreseen, in every pass as many."""
    foreseen: list[int] = []
    done: list[int] = []

    @contextmanager
    def progress(what: str, steps: int) -> Iterator[Advance]:
        foreseen.append(steps)
        yield lambda: done.append(1)

    plan = Plan(views=5, window=3, overlap=1, head_chunk=2)
    run_plan(backbone, Views(images=torch.rand(5, 3, 42, 56)), plan, Telling(progress=progress))
    blocks = sum(site.scope != "camera" for site in backbone.attention_sites())
    assert foreseen == [2 * blocks]
    assert len(done) == 2 * blocks


@pytest.mark.parametrize("returned", [0, False, "", True])
def test_what_a_step_of_progress_returns_changes_no_result(
    backbone: Backbone, returned: object
) -> None:
    @contextmanager
    def progress(what: str, steps: int) -> Iterator[Advance]:
        yield lambda: returned

    scene, plan = Views(images=torch.rand(2, 3, 28, 42)), Plan(views=2, window=2, overlap=1)
    told = run_plan(backbone, scene, plan, Telling(progress=progress)).prediction
    assert torch.equal(told.depth, run_plan(backbone, scene, plan).prediction.depth)


def test_the_allocator_s_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_what_cuda_s_libraries_say_of_memory_is_known(told: str) -> None:
    assert is_out_of_memory(RuntimeError(told))
