"""The memory of attention on the CPU, as PyTorch's allocator counts it."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from sla_kernels import SparseLinearAttention, calibrated, select_blocks

from .cases import qkv


def peak_bytes(step: Callable[[], object]) -> int:
    """The most that a step holds at a time of what it allocates, its result counted."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()
    held = most = 0
    for event in trace.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def test_the_peak_counts_results_and_what_was_freed() -> None:
    def step() -> torch.Tensor:
        return torch.empty(1 << 20, dtype=torch.uint8).to(torch.float32) + 1

    assert peak_bytes(step) == pytest.approx(8 << 20, rel=0.2)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Dense attention holds a buffer a thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("scope", ["all", None])
def test_peak_memory_is_that_of_dense_attention_and_one_batch(scope: str | None) -> None:
    n = 2048
    leaves = [x.requires_grad_() for x in qkv(n, n, h=8, g=8, d=64, dtype=torch.bfloat16)]
    grad = torch.randn(1, 8, n, 64).bfloat16()
    module = SparseLinearAttention(64, keep=0.1, linear=scope).bfloat16()

    def steps(attend: Callable[..., torch.Tensor]) -> list[int]:
        def forward() -> torch.Tensor:
            with torch.no_grad():
                return attend(*leaves)

        def both() -> object:
            return torch.autograd.grad(attend(*leaves), leaves, grad)

        return [peak_bytes(forward), peak_bytes(both)]

    ours, dense = steps(module), steps(F.scaled_dot_product_attention)
    assert ours[0] <= dense[0] + (1 << 20)  # one batch of gathered blocks, however few the tokens
    assert ours[1] <= dense[1]


def test_listed_rows_take_at_most_three_times_the_queries_beside_inputs_and_output() -> None:
    q, k, v = qkv(8192, 8192, h=6, g=6, d=64, dtype=torch.bfloat16)
    attention = SparseLinearAttention(
        64, keep=32, block=(64, 4), order="content", summary=(4, 64, 512), opened=16, linear=None
    )
    with calibrated(attention):
        attention(q[:, :, :1000], k[:, :, :1000], v[:, :, :1000])
    with torch.no_grad():
        taken = peak_bytes(lambda: attention(q, k, v))
    size = q.numel() * q.element_size()
    assert taken - size <= 3 * size


def test_negligible_blocks_are_found_in_memory_that_grows_as_the_scores_do() -> None:
    q, k, _ = qkv(8192, 8192, d=16)
    options = {"keep": 0.5, "block": (16, 16)}
    most = [
        peak_bytes(lambda share=share: select_blocks(q, k, negligible=share, **options))
        for share in (0.0, 0.4)
    ]
    scores = 2 * (8192 // 16) ** 2 * 4
    assert most[1] - most[0] < 4 * scores


def test_every_key_of_grouped_heads_is_attended_without_a_list_for_each_block() -> None:
    q, k, v = qkv(4096, 4096, h=8, g=1, d=16)
    attention = SparseLinearAttention(
        16, keep=1.0, block=(16, 4), order="content", summary=(4, 64), linear=None
    )
    lists = 8 * (4096 // 16) * 4096 * 4
    with torch.no_grad():
        assert peak_bytes(lambda: attention(q, k, v)) < lists / 2
    assert peak_bytes(lambda: attention.selection(q, k, v).density) < lists / 100
