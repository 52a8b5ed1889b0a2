"""What PyTorch's allocator gives out while something runs on a CPU."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_allocated(call: Callable[[], object]) -> int:
    """The most bytes that were out at once, by the profiler's account."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert events
    del result
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak
