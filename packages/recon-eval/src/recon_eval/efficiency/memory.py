"""How much memory a call needs at its peak, above what was held before it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Bytes a call needs at its peak, and where the figure comes from.

    `working_bytes` is the peak above what was allocated before the call: activations, workspaces
    and the result. `held_bytes` is what was allocated before (weights and inputs): known on CUDA
    only. Memory that libraries take past PyTorch's allocators is not seen.
    """

    working_bytes: int
    held_bytes: int | None
    source: str


def peak_memory(fn: Callable[[], object], *, device: str = "cpu") -> PeakMemory:
    """Run `fn` once and return its peak memory.

    CUDA: the caching allocator's peak counter. CPU: the allocations that PyTorch's profiler
    records, summed in order of time; the run is slower than an ordinary one, so time it apart.
    """
    target = torch.device(device)
    if target.type == "cuda":
        return _peak_on_cuda(fn, target)
    if target.type == "cpu":
        return _peak_on_cpu(fn)
    raise ValueError(f"device={device!r}; it must be known: pass 'cpu' or 'cuda'")


def _peak_on_cuda(fn: Callable[[], object], device: torch.device) -> PeakMemory:
    torch.cuda.synchronize(device)
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = fn()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    del result
    return PeakMemory(working_bytes=peak - held, held_bytes=held, source="CUDA caching allocator")


def _peak_on_cpu(fn: Callable[[], object]) -> PeakMemory:
    tracing = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with _silent(), tracing as recorded:
        result = fn()
    results = recorded.profiler.kineto_results if recorded.profiler is not None else None
    if results is None:
        raise RuntimeError(
            "PyTorch's profiler returned no events; another profiler is running: end that"
        )
    steps = sorted(
        (event.start_ns(), event.nbytes())
        for event in results.events()
        if event.name() == "[memory]" and event.device_type().name == "CPU"
    )
    del result
    now = peak = 0
    for _, size in steps:
        now += size
        peak = max(peak, now)
    return PeakMemory(working_bytes=peak, held_bytes=None, source="PyTorch CPU allocator, profiled")


@contextmanager
def _silent() -> Iterator[None]:
    """Drop the lines that PyTorch's profiler writes to file descriptor 2, past Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
