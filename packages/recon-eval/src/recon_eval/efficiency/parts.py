"""Where the time of a call goes: how much of it is spent inside some modules."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn


class Stopwatch:
    """Adds up the time inside some modules, on CUDA by events, which hold nothing up."""

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device).type == "cuda"
        self._begun: list[Any] = []
        self._spans: list[tuple[Any, Any]] = []

    def watch(self, module: nn.Module) -> list[Any]:
        """Time every call of a module; returns the handles of its hooks."""
        return [
            module.register_forward_pre_hook(lambda *_: self._begun.append(self.now())),
            module.register_forward_hook(lambda *_: self._end()),
        ]

    def now(self) -> Any:
        """This moment."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self) -> float:
        """All time so far."""
        if not self._cuda:
            return 1e3 * sum(end - begin for begin, end in self._spans)
        torch.cuda.synchronize()
        return float(sum(begin.elapsed_time(end) for begin, end in self._spans))

    def _end(self) -> None:
        self._spans.append((self._begun.pop(), self.now()))


def time_modules(
    call: Callable[[], object], groups: Mapping[str, Sequence[nn.Module]], *, device: str = "cpu"
) -> dict[str, float]:
    """Run a call once; the milliseconds that it spends inside the modules of each group.

    Groups may hold each other's modules: the time of an inner one counts in both. No hook is left
    behind, also after an exception.
    """
    watches = {name: Stopwatch(device) for name in groups}
    handles = [
        handle
        for name, modules in groups.items()
        for module in modules
        for handle in watches[name].watch(module)
    ]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return {name: watch.milliseconds() for name, watch in watches.items()}
