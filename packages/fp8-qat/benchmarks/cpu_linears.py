"""Time deployed linear layers on a CPU beside float32, oneDNN and bfloat16, and write JSON.

    python benchmarks/cpu_linears.py --tokens 2056 16448 --out cpu.json

Variants take turns; what counts are ratios, as a machine may be shared. Times are of the
process, on one thread, so that they leave out what other programs take. Each layer's
decode, from FP8 codes to a weight to multiply with, also stands alone, and so do the bytes
that a layer holds. A variant that does not match float32 is not timed.
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

from fp8_qat import convert, dequantize, prepare, recipes, sqnr

SHAPES = ((192, 576), (192, 192), (192, 768), (768, 192))  # inputs, outputs: a ViT of width 192
LEAST_SQNR_DB = 25.0
Function = Callable[[], Tensor]


def deployed(layer: nn.Linear, **how: Any) -> nn.Linear:
    """Copy a layer and deploy the copy in FP8."""
    made = copy.deepcopy(layer)
    prepare(made, recipes.rowwise())
    convert(made, **how)
    return made


def variants(layer: nn.Linear, x: Tensor) -> dict[str, Function]:
    """Give every way of computing a float32 layer, then of a bfloat16 one; the baseline first."""
    product = torch.ops.mkldnn._linear_pointwise
    half, x_half = copy.deepcopy(layer).bfloat16(), x.bfloat16()
    bfloat16 = {"backend": "weight_only", "product": torch.bfloat16}
    layers = {
        "reference": deployed(layer, backend="reference"),
        "weight_only": deployed(layer, backend="weight_only"),
        "weight_only, bfloat16": deployed(layer, **bfloat16),
    }
    in_half = deployed(half, backend="weight_only")
    codes = in_half.quantized_weight()
    return {
        "float32": lambda: layer(x),
        "float32, oneDNN": lambda: product(x, layer.weight, layer.bias, "none", [], ""),
        **{f"float32, FP8 {name}": lambda made=made: made(x) for name, made in layers.items()},
        "bfloat16": lambda: half(x_half),
        "bfloat16, FP8 weight_only": lambda: in_half(x_half),
        "decode alone": lambda: dequantize(codes, torch.bfloat16),
    }


def timed(functions: dict[str, Function], repetitions: int) -> dict[str, list[float]]:
    """Milliseconds of every repetition, in turns, after two rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions + 2):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: found[2:] for name, found in times.items()}


def check(functions: dict[str, Function]) -> dict[str, float | None]:
    """Agreement with float32 in dB; stops if it is too small."""
    expected, ratios = functions["float32"](), {}
    for name, function in functions.items():
        if name in ("float32", "decode alone"):
            continue
        ratio = sqnr(expected, function().float())
        if not ratio >= LEAST_SQNR_DB:
            raise SystemExit(f"{name} is {ratio:.1f} dB from float32: it is not timed")
        ratios[name] = ratio
    return ratios


def held_bytes(layer: nn.Linear) -> int:
    """Bytes of the parameters and buffers of a layer."""
    return sum(t.numel() * t.element_size() for t in (*layer.parameters(), *layer.buffers()))


def one(tokens: int, k: int, n: int, repetitions: int) -> dict[str, Any]:
    """Measure one shape."""
    layer, x = nn.Linear(k, n).eval().requires_grad_(False), torch.randn(tokens, k)
    functions = variants(layer, x)
    agreement = check(functions)
    times = timed(functions, repetitions)
    medians = {name: statistics.median(found) for name, found in times.items()}
    baseline = medians["float32"]
    return {
        "tokens": tokens,
        "inputs": k,
        "outputs": n,
        "median_ms": medians,
        "ratio_to_float32": {name: found / baseline for name, found in medians.items()},
        "sqnr_db": agreement,
        "bytes_float32": held_bytes(layer),
        "bytes_fp8": held_bytes(deployed(layer, backend="weight_only")),
        "all_ms": times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2056, 16448])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    with torch.inference_mode():
        rows = [
            one(tokens, k, n, arguments.repetitions)
            for tokens in arguments.tokens
            for k, n in SHAPES
        ]
    settings = vars(arguments) | {"out": arguments.out.name}
    result = {"settings": settings, "rows": rows, "machine": machine()}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        sys.stdout.write(f"{row['tokens']} x {row['inputs']} -> {row['outputs']}\n")
        for name, ratio in row["ratio_to_float32"].items():
            sys.stdout.write(f"  {ratio:6.3f}  {name}\n")


if __name__ == "__main__":
    main()
