"""How long a call takes: CUDA events on a GPU, the monotonic clock elsewhere."""

import time
from collections.abc import Callable

import torch


def time_calls(
    fn: Callable[[], object], *, warmup: int = 10, repeats: int = 20, device: str = "cpu"
) -> tuple[float, ...]:
    """Return the milliseconds of each of `repeats` calls of `fn`, after `warmup` untimed ones.

    On CUDA each call is enclosed in a pair of events and followed by a synchronization, so the time
    is the device's, from the first kernel to the last.
    """
    if warmup < 0 or repeats < 1:
        raise ValueError(
            f"warmup={warmup}, repeats={repeats}; they must be at least 0 and 1: leave them "
            "out for the usual ones"
        )
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}; it must be known: pass 'cpu' or 'cuda'")
    once = _once_on_cpu if kind == "cpu" else _once_on_cuda(torch.device(device))
    for _ in range(warmup):
        fn()
    return tuple(once(fn) for _ in range(repeats))


def _once_on_cpu(fn: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    fn()
    return (time.perf_counter_ns() - start) / 1e6


def _once_on_cuda(device: torch.device) -> Callable[[Callable[[], object]], float]:
    def once(fn: Callable[[], object]) -> float:
        with torch.cuda.device(device):
            start = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start.record()
            fn()
            end.record()
            torch.cuda.synchronize()
            return float(start.elapsed_time(end))

    return once
