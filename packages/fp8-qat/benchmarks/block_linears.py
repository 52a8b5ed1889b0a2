"""Time the linear layers of a ViT block in high precision and in FP8, and write JSON.

    python benchmarks/block_linears.py --tokens 10952 --dim 1024 --out block.json

On a CUDA device the baseline is bfloat16, eager and compiled, against W8A8 with eager,
compiled and fused quantisation. On a CPU it is float32 against the prepared layers, as in
training, and the deployed ones. A variant that does not match the baseline is not timed.
"""

import argparse
import copy
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fp8_qat
from fp8_qat import convert, fuse, prepare, recipes, sqnr

LEAST_SQNR_DB = 20.0  # four layers in a row, each near 26 dB


class BlockLinears(nn.Module):
    """Norms, linear layers and GELU of a pre-norm transformer block, without attention."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.act, self.fc2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        v = self.qkv(self.norm1(x)).chunk(3, -1)[2]
        x = x + self.proj(v)
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


def variants(block: BlockLinears, device: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Every way of computing the block, the baseline first."""

    def made(backend: str | None, *, fused: bool = False) -> BlockLinears:
        model = copy.deepcopy(block)
        prepare(model, recipes.rowwise())
        if backend is not None:
            convert(model, backend=backend)
        if fused:
            fuse(model, [("norm1", "qkv"), ("norm2", "fc1"), ("act", "fc2")])
        return model

    if device == "cpu":
        return {
            "float32": block,
            "prepared": made(None),
            "deployed, reference": made("reference"),
            "deployed, scaled_mm": made("scaled_mm"),
        }
    return {
        "bfloat16": block,
        "bfloat16, compiled": torch.compile(block),
        "scaled_mm": made("scaled_mm"),
        "scaled_mm, fused": made("scaled_mm", fused=True),
        "scaled_mm, compiled": torch.compile(made("scaled_mm")),
    }


def timed(function: Callable[[Tensor], Tensor], x: Tensor, repetitions: int) -> list[float]:
    """Milliseconds of every repetition, after three that do not count."""
    for _ in range(3):
        function(x)
    times = []
    for _ in range(repetitions):
        if x.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        function(x)
        if x.is_cuda:
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return times


@torch.no_grad()
def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    block = BlockLinears(arguments.dim).to(device, dtype).eval()
    x = torch.randn(arguments.tokens, arguments.dim, device=device, dtype=dtype)
    expected, rows = block(x), {}
    for name, function in variants(block, device).items():
        ratio = sqnr(expected, function(x))
        if not ratio >= LEAST_SQNR_DB:
            raise SystemExit(f"{name} is {ratio:.1f} dB from the baseline and is not timed")
        times = timed(function, x, arguments.repetitions)
        rows[name] = {
            "sqnr_db": None if ratio == float("inf") else ratio,
            "median_ms": sorted(times)[len(times) // 2],
            "all_ms": times,
        }
    return {"settings": vars(arguments) | {"out": str(arguments.out)}, "rows": rows} | machine()


def machine() -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    cuda = torch.cuda.is_available()
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        "hardware": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "versions": {
            "fp8-qat": fp8_qat.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "commit": commit or None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2056)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = measure(arguments)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result["rows"].items():
        sys.stdout.write(f"{row['median_ms']:10.3f} ms  {name}\n")


if __name__ == "__main__":
    main()
