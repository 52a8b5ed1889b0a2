"""Time the linear layers of a ViT block in bfloat16 and in FP8, and write JSON.

    python benchmarks/block_linears.py --tokens 10952 --dim 1024 --compiled --out block.json

Norms and GELU are included, attention is not; FP8 variants quantize their inputs inside
the time that is taken. On a CUDA device W8A8 with eager, compiled and fused quantization
stands beside bfloat16, eager and compiled; on a CPU the layers as they train and as they
are deployed. Variants take turns. One that does not match is not timed, and stops the program.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor, nn

from fp8_qat import convert, fuse, prepare, recipes, sqnr

LEAST_SQNR_DB = 20.0  # of a block, to bfloat16: four layers in a row, each near 26 dB
LEAST_AGREEMENT_DB = 30.0  # of a block, to FP8 multiplied back: sums in another order
Function = Callable[[Tensor], Tensor]


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


def in_fp8(block: nn.Module, backend: str | None) -> nn.Module:
    """A copy as it trains (no backend), or as it is deployed."""
    model = copy.deepcopy(block)
    prepare(model, recipes.rowwise())
    if backend is not None:
        convert(model, backend=backend)
    return model


def fused(block: nn.Module) -> nn.Module:
    model = in_fp8(block, "scaled_mm")
    fuse(model, [("norm1", "qkv"), ("norm2", "fc1"), ("act", "fc2")])
    return model


def variants(block: nn.Module, device: str) -> dict[str, Function]:
    """Every way of computing the block: the baseline first, then FP8 multiplied back."""
    found: dict[str, Function] = {
        "bfloat16": block,
        "FP8, deployed, multiplied back": in_fp8(block, "reference"),
        "FP8, trained": in_fp8(block, None),
        "FP8, deployed, W8A8": in_fp8(block, "scaled_mm"),
    }
    if device == "cuda":
        found["FP8, deployed, W8A8, norms and GELU fused"] = fused(block)
    return found


def compiled(block: nn.Module, device: str) -> dict[str, Function]:
    """What `torch.compile` makes of them: W8A8 on a GPU, training on a CPU."""
    chosen = {
        "cuda": ("FP8, deployed, W8A8, compiled", "scaled_mm"),
        "cpu": ("FP8, trained, compiled", None),
    }
    name, backend = chosen[device]
    return {"bfloat16, compiled": torch.compile(block), name: torch.compile(in_fp8(block, backend))}


def trained(function: Function) -> Function:
    """Forward and backward, towards the input and every parameter."""

    def step(x: Tensor) -> Tensor:
        y = function(x.detach().requires_grad_())
        y.backward(torch.ones_like(y))
        return y

    return step


def timed(functions: dict[str, Function], x: Tensor, repetitions: int) -> dict[str, list[float]]:
    """Milliseconds of every repetition, in turns, after three rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions + 3):
        for name, function in functions.items():
            if x.is_cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            function(x)
            if x.is_cuda:
                torch.cuda.synchronize()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: found[3:] for name, found in times.items()}


def check(outputs: dict[str, Tensor]) -> dict[str, float | None]:
    """Agreement with the baseline in dB, None for equal; stops if it is too small."""
    (baseline, reference), ratios = list(outputs.values())[:2], {}
    for name, output in outputs.items():
        ratio, agreement = sqnr(baseline, output), sqnr(reference, output)
        quantized = name.startswith("FP8")
        if not ratio >= LEAST_SQNR_DB or (quantized and not agreement >= LEAST_AGREEMENT_DB):
            raise SystemExit(
                f"{name} is {ratio:.1f} dB from the baseline and {agreement:.1f} dB from FP8 "
                "multiplied back: it is not timed"
            )
        ratios[name] = None if ratio == float("inf") else ratio
    return ratios


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    block = BlockLinears(arguments.dim).to(device, torch.bfloat16).eval()
    x = torch.randn(arguments.tokens, arguments.dim, device=device, dtype=torch.bfloat16)
    functions = variants(block, device) | (compiled(block, device) if arguments.compiled else {})
    with torch.no_grad():
        ratios = check({name: function(x) for name, function in functions.items()})
        forward = timed(functions, x, arguments.repetitions)
    training = {n: trained(f) for n, f in functions.items() if "deployed" not in n}
    both = timed(training, x, arguments.repetitions) if arguments.backward else {}
    rows = {
        name: {
            "sqnr_db": ratios[name],
            "forward_ms": statistics.median(forward[name]),
            "forward_backward_ms": statistics.median(both[name]) if name in both else None,
            "all_forward_ms": forward[name],
            "all_forward_backward_ms": both.get(name, []),
        }
        for name in functions
    }
    settings = vars(arguments) | {"out": arguments.out.name}
    return {"settings": settings, "rows": rows, "machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2056)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--backward", action="store_true", help="time training steps as well")
    parser.add_argument("--compiled", action="store_true", help="time compiled code as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = measure(arguments)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result["rows"].items():
        sys.stdout.write(f"{row['forward_ms']:10.3f} ms  {name}\n")


if __name__ == "__main__":
    main()
