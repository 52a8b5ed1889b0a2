"""Attention alone: SDPA's backends, FlexAttention on the same lists, and ours."""

import argparse
from functools import partial
from typing import Any

from gpu.benchmarks import load
from gpu.record import BROKEN, Record
from gpu.setting import Setting

PLACES = ((10_992, 0.1), (43_968, 0.1), (137_400, 0.1), (10_992, 0.5), (43_968, 0.5))
"""Tokens and shares of kept blocks."""
LONG = 100_000  # tokens from which a call takes a second
SLOW = "dense/efficient_attention"  # there, several


def measure(setting: Setting, record: Record) -> None:
    """Every contender at every length and share of kept blocks, forward and with gradients."""
    bench = load("packages/sla-kernels/benchmarks/bench.py")
    places = ((300, 0.5),) if setting.rehearse else PLACES
    for n, keep in places:
        run = partial(contenders, bench, settings(setting, n, keep))
        record.row({"tokens": n, "keep": keep, "of": "PyTorch and ours"}, run)
    for n, keep in () if setting.rehearse else places[:2]:  # each compiles for seconds
        run = partial(contenders, bench, settings(setting, n, keep, flex=True))
        record.row({"tokens": n, "keep": keep, "of": "FlexAttention"}, run)


def contenders(bench: Any, args: argparse.Namespace) -> dict[str, Any]:
    """What the benchmark says of each. Raises RuntimeError where one broke the device."""
    found = list(bench.measure(args.tokens[0], args.keep[0], args))
    told = [entry["refused"] for entry in found if "refused" in entry]
    broken = [words for words in told if any(known in words for known in BROKEN)]
    if broken:
        raise RuntimeError(broken[0])
    return {"contenders": found}


def settings(
    setting: Setting, tokens: int, keep: float, *, flex: bool = False
) -> argparse.Namespace:
    """What the benchmark's own command line would give."""
    return argparse.Namespace(
        device=setting.device,
        tokens=[tokens],
        heads=1 if setting.rehearse else 16,
        width=32 if setting.rehearse else 64,
        keep=[keep],
        block=(128, 64),
        dtype="fp32" if setting.rehearse else "bf16",
        repetitions=1 if setting.rehearse else (2 if tokens > LONG else 5),
        no_memory=setting.rehearse,
        skip=["dense", "ours"] if flex else ["flex", *([SLOW] if tokens > LONG else [])],
    )
