"""Costs: what is known in advance is measured as that."""

import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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
    formulas = {operator: lambda x: x.numel()}
    assert efficiency.count_flops(lambda: operator(x)) == 0
    assert efficiency.count_flops(lambda: operator(x), formulas=formulas) == 15


@pytest.mark.parametrize("heads", [2, 4])
def test_attention_on_a_cpu_counts_as_its_two_products(heads: int) -> None:
    q, k, v = torch.rand(2, 4, 20, 8), torch.rand(2, heads, 30, 8), torch.rand(2, heads, 30, 8)

    def attend() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=heads != 4)

    assert efficiency.count_flops(attend) == 2 * 2 * (2 * 4 * 20 * 30 * 8)
    with sdpa_kernel(SDPBackend.MATH):  # made of products that PyTorch counts by itself
        assert efficiency.count_flops(attend) == 2 * 2 * (2 * 4 * 20 * 30 * 8)


@pytest.mark.parametrize("kind", ["flash", "efficient", "cudnn"])
def test_attention_of_a_gpu_counts_grouped_heads_as_often_as_they_are_read(kind: str) -> None:
    q, k, v = (torch.rand(2, h, n, 8, device="meta") for h, n in ((4, 20), (2, 30), (2, 30)))
    more = {"flash": (), "efficient": (None, False), "cudnn": (None, False)}[kind]
    attend = getattr(torch.ops.aten, f"_scaled_dot_product_{kind}_attention")
    assert efficiency.count_flops(lambda: attend(q, k, v, *more)) == 2 * 2 * (2 * 4 * 20 * 30 * 8)


def test_the_backward_pass_of_attention_on_a_cpu_counts_as_five_products() -> None:
    q, k, v = (torch.rand(2, 4, n, 8, requires_grad=True) for n in (20, 30, 30))

    def pull_back() -> None:
        with torch.enable_grad():
            F.scaled_dot_product_attention(q, k, v).sum().backward()

    assert efficiency.count_flops(pull_back) == (2 + 5) * 2 * (2 * 4 * 20 * 30 * 8)


@pytest.mark.multiplies
def test_a_product_of_fp8_codes_counts_as_any_product() -> None:
    a, b = torch.rand(16, 32).to(torch.float8_e4m3fn), torch.rand(48, 32).to(torch.float8_e4m3fn)
    one, kind = torch.ones(1, 1), F.ScalingType.TensorWise

    def multiply() -> torch.Tensor:
        return F.scaled_mm(a, b.t(), one, kind, one, kind, output_dtype=torch.bfloat16)

    assert multiply().shape == (16, 48)
    assert efficiency.count_flops(multiply) == 2 * 16 * 32 * 48


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_module_given_its_parameter_is_counted(context: Callable[[], Any]) -> None:
    layer = torch.nn.Linear(8, 8)
    identity = torch.nn.Identity()
    x = torch.rand(4, 8)

    def call() -> None:
        with context():
            F.linear(x, identity(layer.weight))

    assert efficiency.count_flops(call) == 2 * 4 * 8 * 8


def test_a_compiled_function_counts_as_the_one_it_was_made_of() -> None:
    a = torch.rand(16, 32)
    compiled = torch.compile(lambda: a @ a.T, backend="aot_eager")
    compiled()
    assert efficiency.count_flops(compiled) == 2 * 16 * 32 * 16


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 and 1"):
        efficiency.time_calls(lambda: None, repeats=0)
    with pytest.raises(ValueError, match="'cpu' or 'cuda'"):
        efficiency.time_calls(lambda: None, device="meta")
    with pytest.raises(ValueError, match="'cpu' or 'cuda'"):
        efficiency.peak_memory(lambda: None, device="meta")


class FakeCuda:
    """Stands in for `torch.cuda` and writes down what was asked of it, in order.

    Its clock ticks at every call of the measured function; 100 bytes are held, 70 more at the peak.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.clock = 0
        self.peak = 1000  # of what ran before
        for name in (
            "Event",
            "device",
            "synchronize",
            "memory_allocated",
            "reset_peak_memory_stats",
            "max_memory_allocated",
            "get_device_name",
        ):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def call(self) -> None:
        self.log.append("call")
        self.clock += 1
        self.peak = max(self.peak, 170)

    def Event(self, *, enable_timing: bool) -> "FakeEvent":
        assert enable_timing
        return FakeEvent(self)

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.log.append(f"enter {device}")
        yield
        self.log.append("leave")

    def synchronize(self, device: object = None) -> None:
        self.log.append("synchronize")

    def memory_allocated(self, device: object) -> int:
        return 100

    def reset_peak_memory_stats(self, device: object) -> None:
        self.log.append("reset the peak")
        self.peak = 100

    def max_memory_allocated(self, device: object) -> int:
        self.log.append("read the peak")
        return self.peak

    def get_device_name(self, device: object) -> str:
        return "a stand-in"


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.at = -1

    def record(self) -> None:
        self.cuda.log.append("record")
        self.at = self.cuda.clock

    def elapsed_time(self, end: "FakeEvent") -> float:
        self.cuda.log.append("read the clock")
        return float(end.at - self.at)


def test_on_cuda_events_enclose_the_call_and_are_read_after_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    times = efficiency.time_calls(cuda.call, warmup=2, repeats=2, device="cuda:1")
    timed = ["synchronize", "record", "call", "record", "synchronize", "read the clock"]
    assert cuda.log == ["call", "call", *2 * ["enter cuda:1", *timed, "leave"]]
    assert times == (1.0, 1.0)


def test_on_cuda_the_peak_is_reset_before_the_call_and_read_after_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    peak = efficiency.peak_memory(cuda.call, device="cuda")
    around = ("synchronize", "reset the peak", "call", "synchronize", "read the peak")
    assert cuda.log == list(around)
    assert (peak.working_bytes, peak.held_bytes) == (70, 100)
    result = efficiency.measure(cuda.call, warmup=1, repeats=3, device="cuda", views=2)
    assert (result.device_name, result.protocol) == ("a stand-in", "efficiency/cuda")
    assert result.numbers()["held_memory_mib"] == 100 / 2**20
    assert result.numbers()["views_per_second"] == 2000.0


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


def test_calls_are_timed_in_turn_and_all_of_them_equally_often() -> None:
    order: list[str] = []
    calls = {name: partial(order.append, name) for name in "abc"}
    found = efficiency.compare(calls, repeats=3)
    assert order[:12] == list("abc") * 4  # one round warms up
    assert {name: len(result.latencies_ms) for name, result in found.items()} == dict.fromkeys(
        "abc", 3
    )
    assert len(order) == 18  # one for memory, one for operations
    assert efficiency.compare(calls, repeats=1, flops=False)["a"].flops is None
    assert len(order) == 18 + 9  # warmed up, timed, one for memory
    slow = efficiency.compare({"a": partial(time.sleep, 0.01)}, repeats=50, seconds=0.02)
    assert 1 <= len(slow["a"].latencies_ms) <= 2
    with pytest.raises(ValueError, match="repeats=0; it must be at least 1"):
        efficiency.compare(calls, repeats=0)


def test_time_inside_modules_is_part_of_the_whole_and_no_hook_stays() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    groups = {"linear": [model[0], model[2]], "all": [model]}
    spent = efficiency.time_modules(lambda: model(torch.rand(2, 8)), groups)
    assert 0 < spent["linear"] < spent["all"]
    with pytest.raises(RuntimeError):
        efficiency.time_modules(lambda: model(torch.rand(2, 9)), groups)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_numbers_say_where_they_come_from(tmp_path: Path) -> None:
    found = efficiency.environment(["numpy"], tmp_path)
    assert set(found["versions"]) == {"numpy", "python"}
    assert found["commit"] is None
    assert found["cores"] and found["processor"]
    if platform.machine() == "x86_64" and sys.platform == "linux":
        assert "(family " in found["processor"]
