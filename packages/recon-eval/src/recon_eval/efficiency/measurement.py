"""Latency, memory and operations of one call, in one result."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from recon_eval.efficiency.flops import count_flops
from recon_eval.efficiency.latency import time_calls
from recon_eval.efficiency.memory import PeakMemory, peak_memory


@dataclass(frozen=True, kw_only=True)
class EfficiencyResult:
    """The cost of one call. `latencies_ms` holds every repetition; the summary is their median.

    `flops` is None unless it was asked for; `views` is how many views one call processes.
    """

    latencies_ms: tuple[float, ...]
    memory: PeakMemory
    flops: int | None
    views: int | None
    device: str
    device_name: str
    threads: int
    warmup: int

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        return f"efficiency/{torch.device(self.device).type}"

    @property
    def latency_ms(self) -> float:
        """Median latency in milliseconds."""
        return statistics.median(self.latencies_ms)

    @property
    def peak_memory_bytes(self) -> int:
        """Bytes at the peak above what was held before the call."""
        return self.memory.working_bytes

    def quartiles_ms(self) -> tuple[float, float]:
        """Return the first and third quartile of the latencies."""
        if len(self.latencies_ms) < 2:
            return self.latencies_ms[0], self.latencies_ms[0]
        low, _, high = statistics.quantiles(self.latencies_ms, n=4, method="inclusive")
        return low, high

    def numbers(self) -> dict[str, float]:
        """Return every figure by name."""
        low, high = self.quartiles_ms()
        found: dict[str, float] = {
            "latency_ms": self.latency_ms,
            "latency_ms_q25": low,
            "latency_ms_q75": high,
            "peak_memory_mib": self.peak_memory_bytes / 2**20,
        }
        if self.memory.held_bytes is not None:
            found["held_memory_mib"] = self.memory.held_bytes / 2**20
        if self.flops is not None:
            found["gflops"] = self.flops / 1e9
        if self.views is not None:
            found["views_per_second"] = 1000 * self.views / self.latency_ms
        return found

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        return {
            "latencies_ms": self.latencies_ms,
            "warmup": self.warmup,
            "memory_source": self.memory.source,
            "device": self.device,
            "device_name": self.device_name,
            "threads": self.threads,
            "views": self.views,
        }


def measure(
    fn: Callable[[], object],
    *,
    warmup: int = 10,
    repeats: int = 20,
    device: str = "cpu",
    views: int | None = None,
    flops: bool = False,
    formulas: Mapping[object, Callable[..., int]] | None = None,
) -> EfficiencyResult:
    """Time `fn`, then run it once more for its peak memory and, if asked, once for its operations.

    Wrap the call in `torch.inference_mode()` yourself if that is how it is deployed: what is
    measured is what is called.
    """
    latencies = time_calls(fn, warmup=warmup, repeats=repeats, device=device)
    return result_of(
        fn,
        latencies_ms=latencies,
        warmup=warmup,
        device=device,
        views=views,
        flops=flops,
        formulas=formulas,
    )


def result_of(
    fn: Callable[[], object],
    *,
    latencies_ms: tuple[float, ...],
    warmup: int,
    device: str,
    views: int | None = None,
    flops: bool = False,
    formulas: Mapping[object, Callable[..., int]] | None = None,
) -> EfficiencyResult:
    """Put memory and, if asked, operations to the times of a call: it runs once for each."""
    return EfficiencyResult(
        latencies_ms=latencies_ms,
        memory=peak_memory(fn, device=device),
        flops=count_flops(fn, formulas=formulas) if flops else None,
        views=views,
        device=device,
        device_name=_name(torch.device(device)),
        threads=torch.get_num_threads(),
        warmup=warmup,
    )


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
