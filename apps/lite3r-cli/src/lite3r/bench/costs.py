"""What one scene costs a model on this machine: time, memory, operations, kept density."""

import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone
from recon_eval import efficiency
from sla_kernels import observed_selections

SECONDS = 30.0  # what repetitions of one comparison may take


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one scene costs a model on this machine; every repetition is kept.

    - `flops`: floating-point operations of one scene, a multiply-add as two.
    """

    latencies_ms: list[float] = field(default_factory=list)
    peak_memory_bytes: int
    flops: int

    @property
    def latency_ms(self) -> float:
        """Median latency."""
        return statistics.median(self.latencies_ms)


def compare_costs(
    models: Mapping[str, Any],
    images: Float[Tensor, "b v 3 y x"],
    *,
    repeats: int,
    device: str,
    seconds: float = SECONDS,
) -> dict[str, Cost]:
    """Time models on images in turn, so that what disturbs the machine disturbs all.

    One round warms up; of `repeats` timed rounds, as many as fit into `seconds` are made, one at
    least.
    """
    calls = {name: _call(model, images.to(device)) for name, model in models.items()}

    def round_of_calls() -> dict[str, tuple[float, ...]]:
        timed = efficiency.time_calls
        return {n: timed(run, warmup=0, repeats=1, device=device) for n, run in calls.items()}

    round_of_calls()  # its time says little: some models compile in it
    rounds = [round_of_calls()]
    taken = sum(sum(times) for times in rounds[0].values()) / 1e3
    affordable = int(seconds / max(taken, 1e-3))
    rounds += [round_of_calls() for _ in range(min(repeats, affordable) - 1)]
    times = {name: [ms for found in rounds for ms in found[name]] for name in calls}
    return {name: _cost(run, times[name], device) for name, run in calls.items()}


def kept_density(backbone: Backbone, images: Float[Tensor, "b v 3 y x"]) -> float:
    """Share of query-key pairs of the sparse attentions that softmax attention sees.

    Measured on images, averaged over the attentions.
    """
    with observed_selections(backbone) as found:
        _call(backbone, images)()
    return statistics.fmean(selection.density for selection in found)


def _call(model: Any, images: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return model(images)

    return run


def _cost(run: Callable[[], object], times: list[float], device: str) -> Cost:
    """Put memory and operations to the times: one more call each."""
    with _silent_profiler():
        peak = efficiency.peak_memory(run, device=device)
    return Cost(
        latencies_ms=times,
        peak_memory_bytes=peak.working_bytes,
        flops=efficiency.count_flops(run),
    )


@contextmanager
def _silent_profiler() -> Iterator[None]:
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
