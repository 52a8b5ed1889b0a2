"""Time few exact blocks with summaries beside dense attention, on a CPU, and what each step takes.

    python benchmarks/rows.py --tokens 8224 32896 --out rows-cpu.json
    python benchmarks/rows.py --in-turn --tokens 16448 32896 65792 131584 --out doubling-cpu.json

Tokens come in groups that are alike, as patches of one place seen from many views are; time does
not depend on it. Every repetition times dense attention and this package in turn. Nothing is timed
unless keeping every block equals dense attention on these tensors.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import sla_kernels
from sla_kernels import principal_axes, select_rows, sla_attention

RECIPES = {"balanced": {"keep": 64, "opened": 20}, "fast": {"keep": 32, "opened": 16}}
SIZES = (4, 64, 512, 4096)
PLACE = 16  # tokens of one place


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2056, 8224, 32896])
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-up-to", type=int, default=40_000, help="tokens")
    parser.add_argument("--no-backward", action="store_true")
    parser.add_argument("--in-turn", action="store_true", help="time all lengths in turn, alone")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    check_exact(given.heads, given.width)
    if given.in_turn:
        record = {"what": "growth", "environment": environment(), "rows": growth(given)}
        given.out.write_text(json.dumps(record, indent=1) + "\n")
        return
    rows = [
        row
        for tokens in given.tokens
        for dtype in given.dtypes
        for row in measure(tokens, getattr(torch, dtype), given)
    ]
    record = {"what": "few exact blocks with summaries", "environment": environment(), "rows": rows}
    given.out.write_text(json.dumps(record, indent=1) + "\n")


def environment() -> dict[str, Any]:
    """What this was measured on."""
    lines = (x.partition(":") for x in Path("/proc/cpuinfo").read_text().splitlines())
    known = {key.strip(): value.strip() for key, _, value in lines}
    name = known.get("model name", platform.processor())
    return {
        "processor": f"{name} (family {known.get('cpu family')}, model {known.get('model')})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "sla-kernels": sla_kernels.__version__,
    }


def draw(tokens: int, heads: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of tokens that come in groups."""
    places = torch.randn(heads, -(-tokens // PLACE), width)
    which = torch.arange(tokens) % places.shape[1]
    q, k, v = ((places[:, which] + 0.5 * torch.randn(heads, tokens, width))[None] for _ in range(3))
    return q, k, v


def check_exact(heads: int, width: int) -> None:
    """Refuse to go on unless every block is dense attention."""
    q, k, v = draw(1000, heads, width)
    selection = select_rows(q, k, v, keep=1.0, summary=SIZES)
    found = sla_attention(q, k, v, selection=selection, linear=None, backend="eager")
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v))


def prepared(
    tokens: int, dtype: torch.dtype, given: argparse.Namespace
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Queries, keys and values of a type, and the axes of their order."""
    drawn = draw(tokens, given.heads, given.width)
    q, k, v = (x.to(dtype) for x in drawn)
    return (q, k, v), principal_axes(drawn[1].transpose(1, 2).flatten(2), 16)


def growth(given: argparse.Namespace) -> list[dict[str, Any]]:
    """What each recipe takes at each length in bfloat16, and how many times the one before.

    All lengths are timed in turn, as a processor's clock changes within minutes; ratios are those
    of one turn.
    """
    cases = [(n, *prepared(n, torch.bfloat16, given)) for n in given.tokens]
    rows = []
    for name, recipe in RECIPES.items():
        seconds: dict[int, list[float]] = {n: [] for n in given.tokens}
        for _ in range(given.repeats + 1):
            for tokens, qkv, axes in cases:
                begun = time.perf_counter()
                forward(attention(recipe, axes), *qkv)
                seconds[tokens].append(time.perf_counter() - begun)
        before: list[float] = []
        for tokens, taken in seconds.items():
            row = {"what": name, "tokens": tokens, "heads": given.heads, "width": given.width}
            row["median_ms"] = 1e3 * statistics.median(taken[1:])
            if before:
                ratios = [b / a for a, b in zip(before[1:], taken[1:], strict=True)]
                row |= {"times_before": statistics.median(ratios), "ratios": ratios}
            before = taken
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
    return rows


def attention(recipe: dict[str, int], axes: Tensor) -> Callable[..., Tensor]:
    """Attention of a recipe, its order included."""
    return lambda *x: sla_attention(
        *x, **recipe, block=(64, 4), order="content", summary=SIZES, axes=axes, linear=None
    )


def measure(tokens: int, dtype: torch.dtype, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows for one number of tokens of one type."""
    (q, k, v), axes = prepared(tokens, dtype, given)
    calls: dict[str, Callable[..., Tensor]] = {}
    if tokens <= given.dense_up_to:
        calls["dense"] = F.scaled_dot_product_attention
    for name, recipe in RECIPES.items():
        calls[name] = attention(recipe, axes)
        calls[f"{name}, choice alone"] = lambda *x, r=recipe: (
            select_rows(*x, **r, summary=SIZES, axes=axes).rows
        )
    passes = {"forward": forward} if given.no_backward else {"forward": forward, "both": both}
    rows = []
    for kind, run in passes.items():
        timed = [name for name in calls if kind == "forward" or "alone" not in name]
        seconds: dict[str, list[float]] = {name: [] for name in timed}
        for repeat in range(given.repeats + 1):
            for name in seconds:
                begun = time.perf_counter()
                run(calls[name], q, k, v)
                if repeat:
                    seconds[name].append(time.perf_counter() - begun)
        for name, taken in seconds.items():
            middle = statistics.median(taken)
            row = {"tokens": tokens, "heads": given.heads, "width": given.width, "pass": kind}
            row["dtype"] = str(dtype).removeprefix("torch.")
            row |= {"what": name, "median_ms": 1e3 * middle, "ms": [1e3 * s for s in taken]}
            if "dense" in seconds:
                row["dense_over_this"] = statistics.median(seconds["dense"]) / middle
            if name in RECIPES:
                row["keys_seen"] = select_rows(q, k, v, **RECIPES[name], summary=SIZES).keys_seen
            rows.append(row)
            sys.stdout.write(json.dumps({k: v for k, v in row.items() if k != "ms"}) + "\n")
    return rows


def forward(call: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> None:
    """One pass without gradients."""
    with torch.inference_mode():
        call(q, k, v)


def both(call: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> None:
    """Forward and backward."""
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    call(*leaves).square().sum().backward()


if __name__ == "__main__":
    main()
