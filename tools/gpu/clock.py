"""How long a call takes and what it holds at its peak."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from recon_eval.efficiency import time_calls

SECONDS = 0.6  # what the repetitions of one call may take together
LONG_MS = 3000.0  # a first call that takes longer is the measurement
MOST = 20  # repetitions


def timed(fn: Callable[[], object], device: str, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Median milliseconds, every repetition, and the peak in bytes above what was held.

    The first call warms up; one that takes over three seconds is kept as the only one.
    """
    (first,), peak = with_peak(lambda: time_calls(fn, warmup=0, repeats=1, device=device), device)
    times: tuple[float, ...] = (first,)
    if first <= LONG_MS:
        (again,) = time_calls(fn, warmup=0, repeats=1, device=device)
        repeats = min(MOST, max(2, int(1e3 * seconds / max(again, 1e-3))))
        times = (again, *time_calls(fn, warmup=0, repeats=repeats - 1, device=device))
        _, peak = with_peak(fn, device)
    return {
        "ms": statistics.median(times),
        "all_ms": list(times),
        "first_ms": first,
        "peak_bytes": peak,
    }


def with_peak(fn: Callable[[], Any], device: str) -> tuple[Any, int | None]:
    """The result of a call, and its peak in bytes above what was held; None on a CPU."""
    if device != "cuda":
        return fn(), None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    result = fn()
    torch.cuda.synchronize()
    return result, torch.cuda.max_memory_allocated() - held


def wall(fn: Callable[[], object], device: str) -> float:
    """Seconds of one call, the device's work included."""
    began = time.monotonic()
    fn()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - began
