"""Attention alone: SDPA's backends, FlexAttention on the same lists, and ours."""

import argparse
import itertools
from functools import partial
from typing import Any

from gpu.benchmarks import load
from gpu.record import Record
from gpu.setting import Setting


def measure(setting: Setting, record: Record) -> None:
    """Every contender at every length and share of kept blocks, forward and with gradients."""
    bench = load("packages/sla-kernels/benchmarks/bench.py")
    tokens = (300,) if setting.rehearse else (10_992, 43_968, 137_400)
    keeps = (0.5,) if setting.rehearse else (0.1, 0.5)
    for n, keep in itertools.product(tokens, keeps):
        if n > 100_000 and keep > 0.2:
            continue  # seconds a call
        run = partial(contenders, bench, settings(setting, n, keep))
        record.row({"tokens": n, "keep": keep}, run)


def contenders(bench: Any, args: argparse.Namespace) -> dict[str, Any]:
    """What the benchmark says of each."""
    return {"contenders": list(bench.measure(args.tokens[0], args.keep[0], args))}


def settings(setting: Setting, tokens: int, keep: float) -> argparse.Namespace:
    """What the benchmark's own command line would give."""
    return argparse.Namespace(
        device=setting.device,
        tokens=[tokens],
        heads=1 if setting.rehearse else 16,
        width=32 if setting.rehearse else 64,
        keep=[keep],
        block=(128, 64),
        dtype="fp32" if setting.rehearse else "bf16",
        repetitions=1 if setting.rehearse else (3 if tokens > 100_000 else 5),
        no_memory=setting.rehearse,
        skip=["flex"] if setting.rehearse else [],
    )
