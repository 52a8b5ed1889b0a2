"""Quantization kernels against PyTorch's operations, and FP8 products against the reference."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fp8_qat import (
    QuantizedTensor,
    convert,
    gelu_quantize,
    layer_norm_quantize,
    prepare,
    quantize_activation,
    recipes,
    sqnr,
)
from gpu.setting import Setting

Check = Callable[[], dict[str, float]]


def checks(setting: Setting) -> dict[str, Check]:
    """By name."""
    found: dict[str, Check] = {}
    for name in ("rowwise", "block", "mxfp8"):
        for before in ("nothing", "layer_norm", "gelu"):
            found[f"quantize after {before}, {name}"] = partial(codes, name, before, setting)
    for name in ("rowwise", "tensorwise"):
        found[f"scaled_mm, {name}"] = partial(product, name, setting)
    return found


def codes(name: str, before: str, setting: Setting) -> dict[str, float]:
    """The share of codes that differ, where sums in another order may tip a rounding."""
    spec = recipes.by_name(name).activation
    assert spec is not None
    rows, width = (5, 128) if setting.rehearse else (777, 1024)
    x = torch.randn(rows, width).to(
        setting.device, torch.float16 if setting.rehearse else torch.bfloat16
    )
    weight, bias = torch.rand_like(x[0]) + 0.5, torch.rand_like(x[0])

    def call(backend: str) -> QuantizedTensor:
        if before == "nothing":
            return quantize_activation(x, spec, backend=backend)
        if before == "gelu":
            return gelu_quantize(x, spec, backend=backend)
        return layer_norm_quantize(x, weight, bias, spec, backend=backend)

    differ = different(call("triton").bytes, call("reference").bytes)
    return {"error": differ, "allowed": 0.0 if before == "nothing" else 0.01}


def different(a: Tensor, b: Tensor) -> float:
    """The share of bytes that are not equal."""
    return float((a.view(torch.uint8) != b.view(torch.uint8)).float().mean())


def product(name: str, setting: Setting) -> dict[str, float]:
    """How far below 45 dB the product of codes lies from that of values multiplied back."""
    rows, width = (5, 64) if setting.rehearse else (777, 1024)
    layer = nn.Sequential(nn.Linear(width, 1008)).to(setting.device, torch.bfloat16)
    prepare(layer, recipes.by_name(name))
    other = copy.deepcopy(layer)
    convert(layer, backend="reference")
    convert(other, backend="scaled_mm")
    x = torch.randn(rows, width).to(setting.device, torch.bfloat16)
    with torch.no_grad():
        found = float(sqnr(layer(x), other(x)))
    return {"error": max(0.0, 45.0 - found), "allowed": 0.0}
