"""How near a student comes to its limit: the same network with global attention left out.

    python apps/lite3r-cli/benchmarks/limit.py --views 8 16 32 64 --out limit-da3-tiny-cpu.json
    python apps/lite3r-cli/benchmarks/limit.py --busy 2 --views 8 32 --out limit-busy.json
    python apps/lite3r-cli/benchmarks/limit.py --backbone da3-small --weights random \
        --views 16 --size 378 504 --out limit-da3-small-cpu.json

Everything that a student adds is inside its time: order, choice, means, attention. All rows take
the number type in which the dense network is faster, and linear layers are the same in all, so that
attention alone tells them apart. "products" is the dense network with its global attention by two
matrix products in place of PyTorch's fused kernel, which is what others use. Rows are timed in
turn, each on its own after a pass that warms up; a share is that of the fastest passes. Random
weights are good for time, not for quality.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sla_kernels
from lite3r.shell.environment import environment
from lite3r.student.compose import lighten
from lite3r.student.recipes import by_name
from recon_backbones import Backbone, load_backbone, replace_attention

RECIPES = ("balanced", "fast")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Nothing(nn.Module):
    """What is left of an attention that is left out: values go through."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, pinned: Tensor | None = None) -> Tensor:
        """Return the values."""
        return v


class Products(nn.Module):
    """Dense attention by two products, as many queries at a time as keep weights in a cache."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, pinned: Tensor | None = None) -> Tensor:
        """Attend, head by head."""
        out, step = torch.empty_like(q), max(16, 2**20 // k.shape[2])
        for head in range(q.shape[1]):
            for start in range(0, q.shape[2], step):
                some = (slice(None), slice(head, head + 1), slice(start, start + step))
                weights = (q[some] * q.shape[3] ** -0.5) @ k[:, head : head + 1].mT
                out[some] = torch.softmax(weights, -1, out=weights) @ v[:, head : head + 1]
        return out


def exchanged(dense: Backbone, core: type[nn.Module]) -> Backbone:
    """The network with another core in its global attentions."""
    replace_attention(dense, lambda _: core(), where=lambda site: site.scope == "global")
    return dense


def rows(given: argparse.Namespace, dtype: torch.dtype) -> dict[str, Backbone]:
    """The dense network in two forms, its limit, and a student by each recipe, in a type."""

    def load() -> Backbone:
        torch.manual_seed(0)
        return load_backbone(given.backbone, weights=given.weights).eval()

    made = {"dense": load(), "limit": exchanged(load(), Nothing)}
    made["products"] = exchanged(load(), Products)
    for name in RECIPES:
        made[name] = lighten(load(), replace(by_name(name), fp8="none")).backbone.eval()
        sla_kernels.attend_all_below(made[name], sla_kernels.short_on("cpu"))  # as deployed
    return {name: backbone.to(dtype) for name, backbone in made.items()}


def timed(nets: dict[str, Backbone], images: Tensor, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every pass, rows in turn; the first of each is not counted."""
    found: dict[str, list[float]] = {name: [] for name in nets}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, net in nets.items():
                start = time.perf_counter()
                net(images.to(next(net.parameters()).dtype), reference="first")
                if turn:
                    found[name].append(1000 * (time.perf_counter() - start))
    return found


def faster_type(given: argparse.Namespace, images: Tensor) -> str:
    """In which number type the dense network answers sooner."""
    nets = {}
    for name, dtype in DTYPES.items():
        nets[name] = load_backbone(given.backbone, weights=given.weights).eval().to(dtype)
    best = {name: min(times) for name, times in timed(nets, images, 2).items()}
    return min(best, key=lambda name: best[name])


def measured(given: argparse.Namespace, views: int) -> dict[str, Any]:
    """All rows at one number of views."""
    images = torch.rand(1, views, 3, *given.size, generator=torch.Generator().manual_seed(0))
    name = faster_type(given, images)
    times = timed(rows(given, DTYPES[name]), images, given.repeats)
    best = {row: min(found) for row, found in times.items()}
    return {
        "views": views,
        "size": given.size,
        "dtype": name,
        "fastest_ms": best,
        "median_ms": {row: statistics.median(found) for row, found in times.items()},
        "of_limit": {row: best["limit"] / ms for row, ms in best.items()},
        "times_dense": {row: best["dense"] / ms for row, ms in best.items()},
    }


def spin() -> None:
    """Keep one processor busy."""
    while True:
        sum(range(100_000))


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="da3-tiny")
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--views", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--size", type=int, nargs=2, default=[224, 224], help="height and width")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, help="busy processes beside it")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with ExitStack() as stack:
        for _ in range(given.busy):
            process = multiprocessing.Process(target=spin, daemon=True)
            process.start()
            stack.callback(process.terminate)
        found = [measured(given, views) for views in given.views]
    asked = {name: getattr(given, name) for name in ("backbone", "weights", "repeats", "busy")}
    record = {"what": "shares of the limit", **asked, "rows": found, "environment": environment()}
    given.out.write_text(json.dumps(record, indent=1) + "\n")
    for row in found:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in row["of_limit"].items())
        print(f"{row['views']} views, {row['dtype']}: {shares} of the limit")


if __name__ == "__main__":
    main()
