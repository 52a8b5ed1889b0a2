"""Costs: what is known in advance is measured as that."""

import time

import pytest
import torch

from recon_eval import efficiency


def test_latency_is_that_of_a_call_of_known_length() -> None:
    calls = []

    def sleep() -> None:
        calls.append(None)
        time.sleep(0.02)

    result = efficiency.measure(sleep, warmup=2, repeats=5, views=4)
    assert len(result.latencies_ms) == 5
    assert 20 <= result.latency_ms < 2000
    assert len(calls) == 2 + 5 + 1  # the last one for memory
    assert result.numbers()["views_per_second"] == pytest.approx(4000 / result.latency_ms)
    low, high = result.quartiles_ms()
    assert low <= result.latency_ms <= high


def test_peak_memory_of_known_allocations() -> None:
    def call() -> torch.Tensor:
        a = torch.zeros(1 << 20)  # 4 MiB
        b = torch.ones(1 << 20)  # 8 MiB held
        c = a + b  # 12 MiB: the peak
        del a, b
        return c + 1  # 8 MiB

    peak = efficiency.peak_memory(call)
    assert 12 * 2**20 <= peak.working_bytes < 12.1 * 2**20
    assert peak.held_bytes is None
    assert "profiled" in peak.source


def test_operations_of_a_product_are_two_per_multiply_add() -> None:
    a, b = torch.rand(16, 32), torch.rand(32, 8)
    assert efficiency.count_flops(lambda: a @ b) == 2 * 16 * 32 * 8
    result = efficiency.measure(lambda: a @ b, warmup=0, repeats=1, flops=True)
    assert result.flops == 2 * 16 * 32 * 8
    assert result.quartiles_ms() == (result.latency_ms, result.latency_ms)


def test_an_operator_counts_by_the_formula_given_for_it() -> None:
    @torch.library.custom_op("recon_eval_test::double", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    operator = torch.ops.recon_eval_test.double
    x = torch.rand(3, 5)
    formulas = {operator: lambda shape, out_shape=None, **_: shape[0] * shape[1]}
    assert efficiency.count_flops(lambda: operator(x)) == 0
    assert efficiency.count_flops(lambda: operator(x), formulas=formulas) == 15


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 and 1"):
        efficiency.time_calls(lambda: None, repeats=0)
    with pytest.raises(ValueError, match="'cpu' and 'cuda'"):
        efficiency.time_calls(lambda: None, device="meta")
    with pytest.raises(ValueError, match="'cpu' and 'cuda'"):
        efficiency.peak_memory(lambda: None, device="meta")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_peak_and_latency_are_those_of_the_device() -> None:
    held = torch.zeros(1 << 20, device="cuda")
    result = efficiency.measure(
        lambda: held + torch.ones(1 << 20, device="cuda"), warmup=3, repeats=5, device="cuda"
    )
    assert result.memory.held_bytes is not None
    assert result.memory.held_bytes >= 4 * 2**20
    assert result.peak_memory_bytes == 8 * 2**20
    assert 0 < result.latency_ms < 100
    large = torch.zeros(4096, 4096, device="cuda")
    slow = efficiency.time_calls(lambda: large @ large, warmup=3, repeats=5, device="cuda")
    assert min(slow) > 0.1  # 137 GFLOP: a clock stopped before the kernel ends would show less
