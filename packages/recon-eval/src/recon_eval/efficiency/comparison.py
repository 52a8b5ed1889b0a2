"""What calls cost beside each other: timed in turn, so that what disturbs one disturbs all."""

from collections.abc import Callable, Mapping

from recon_eval.efficiency.latency import time_calls
from recon_eval.efficiency.measurement import EfficiencyResult, result_of

SECONDS = 30.0  # what repetitions of one comparison may take


def compare(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    device: str = "cpu",
    seconds: float = SECONDS,
    flops: bool = True,
) -> dict[str, EfficiencyResult]:
    """Time calls in turn, then run each once more for its memory and, with `flops`, its operations.

    One round warms up, as some calls compile in it; of `repeats` timed rounds, as many as fit into
    `seconds` are made, one at least. Raises ValueError for fewer repeats than one.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}; it must be at least 1: 5 is usual")

    def in_turn() -> dict[str, tuple[float, ...]]:
        return {
            name: time_calls(call, warmup=0, repeats=1, device=device)
            for name, call in calls.items()
        }

    in_turn()
    rounds = [in_turn()]
    taken = sum(sum(times) for times in rounds[0].values()) / 1e3
    affordable = int(seconds / max(taken, 1e-3))
    rounds += [in_turn() for _ in range(min(repeats, affordable) - 1)]
    return {
        name: result_of(
            call,
            latencies_ms=tuple(ms for found in rounds for ms in found[name]),
            warmup=1,
            device=device,
            flops=flops,
        )
        for name, call in calls.items()
    }
