"""FP8 against bfloat16 for each linear layer of the backbones, by shape: where it pays."""

import copy
import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fp8_qat import convert, layer_norm_quantize, prepare, recipes
from gpu.clock import timed
from gpu.record import Record
from gpu.setting import Setting

LAYERS = {"qkv": (1, 3), "proj": (1, 1), "fc1": (1, 4), "fc2": (4, 1)}  # in and out, of the width
QUANTIZED = "FP8, quantized first"
WAYS = (
    *("bfloat16", "FP8, product alone", QUANTIZED),
    *("norm and quantization, fused", "norm"),
)
COMPILED = f"{QUANTIZED}, compiled"


def measure(setting: Setting, record: Record) -> None:
    """The product alone, with its quantization, with the norm before it; compiled ones last."""
    width = 64 if setting.rehearse else 1024
    counts = (32,) if setting.rehearse else (2_748, 10_992, 43_968, 137_400)
    layers = {name: bfloat16_layer(name, width, setting) for name in LAYERS}
    fp8 = cache(lambda name: deployed(layers[name]))  # where a row asks: what fails is that row
    compiled = cache(lambda name: torch.compile(fp8(name), dynamic=True))  # for all lengths
    rows = [*itertools.product(counts, LAYERS, WAYS)]
    rows += itertools.product(() if setting.rehearse else counts, LAYERS, (COMPILED,))
    for tokens, name, what in rows:
        made = partial(compiled if what == COMPILED else fp8, name)
        run = partial(rate, what, layers[name], made, tokens, setting.device)
        record.row({"layer": name, "width": width, "tokens": tokens, "what": what}, run)


def bfloat16_layer(name: str, width: int, setting: Setting) -> nn.Linear:
    """One of LAYERS."""
    layer = nn.Linear(*(factor * width for factor in LAYERS[name]))
    return layer.to(setting.device, torch.bfloat16).requires_grad_(False)


def deployed(layer: nn.Linear) -> Any:
    """The same layer in FP8."""
    fp8 = nn.Sequential(copy.deepcopy(layer))
    prepare(fp8, recipes.rowwise())
    convert(fp8, backend="scaled_mm")
    return fp8[0]


def way(what: str, layer: nn.Linear, made: Callable[[], Any], x: Tensor) -> Callable[[], object]:
    """One of WAYS to compute the layer, or the compiled one; `made` is the layer in FP8."""
    weight, bias = torch.ones_like(x[0]), torch.zeros_like(x[0])
    if what == "bfloat16":
        return partial(layer, x)
    if what == "norm":
        return partial(F.layer_norm, x, x.shape[-1:], weight, bias)
    fp8 = made()
    if what == "FP8, product alone":
        return partial(fp8.multiply, fp8.quantized_operand(x), x.dtype)
    if what == "norm and quantization, fused":
        return partial(layer_norm_quantize, x, weight, bias, fp8.input_quantizer.spec)
    return partial(fp8, x)


def rate(
    what: str, layer: nn.Linear, made: Callable[[], Any], tokens: int, device: str
) -> dict[str, Any]:
    """Time, and what it means in products."""
    x = torch.randn(tokens, layer.in_features, device=device).bfloat16()
    with torch.inference_mode():
        found = timed(way(what, layer, made, x), device, seconds=0.1)
    flops = 2 * tokens * layer.in_features * layer.out_features
    return found | {"tflops": flops / found["ms"] / 1e9}
