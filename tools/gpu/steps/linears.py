"""FP8 against bfloat16 for each linear layer of the backbones, by shape: where it pays."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fp8_qat import convert, layer_norm_quantize, prepare, recipes
from gpu.clock import timed
from gpu.record import Record
from gpu.setting import Setting

LAYERS = {"qkv": (1, 3), "proj": (1, 1), "fc1": (1, 4), "fc2": (4, 1)}  # in and out, of the width


def measure(setting: Setting, record: Record) -> None:
    """The product alone, with its quantization, with the norm before it; eager and compiled."""
    widths = (64,) if setting.rehearse else (1024,)
    counts = (32,) if setting.rehearse else (2_748, 10_992, 43_968, 137_400)
    for width, tokens, name in itertools.product(widths, counts, LAYERS):
        layer = nn.Linear(*(factor * width for factor in LAYERS[name]))
        layer = layer.to(setting.device, torch.bfloat16).requires_grad_(False)
        x = torch.randn(tokens, layer.in_features, device=setting.device).bfloat16()
        key = {"layer": name, "width": width, "tokens": tokens}
        for what, fn in ways(layer, x, setting).items():
            record.row(key | {"what": what}, partial(rate, fn, layer, x, setting.device))


def ways(layer: nn.Linear, x: Tensor, setting: Setting) -> dict[str, Callable[[], object]]:
    """How the layer can be computed."""
    fp8 = nn.Sequential(nn.Linear(layer.in_features, layer.out_features))
    fp8.load_state_dict({f"0.{k}": v for k, v in layer.state_dict().items()})
    fp8 = fp8.to(x.device, x.dtype).requires_grad_(False)
    prepare(fp8, recipes.rowwise())
    convert(fp8, backend="scaled_mm")
    deployed: Any = fp8[0]
    with torch.no_grad():
        codes = deployed.quantized_operand(x)
    found: dict[str, Callable[[], object]] = {
        "bfloat16": partial(layer, x),
        "FP8, product alone": partial(deployed.multiply, codes, x.dtype),
        "FP8, quantized first": partial(deployed, x),
    }
    if not setting.rehearse:
        found["FP8, quantized first, compiled"] = partial(torch.compile(fp8, dynamic=True), x)
    weight, bias = torch.ones_like(x[0]), torch.zeros_like(x[0])
    spec = deployed.input_quantizer.spec
    found["norm and quantization, fused"] = partial(layer_norm_quantize, x, weight, bias, spec)
    found["norm"] = partial(F.layer_norm, x, x.shape[-1:], weight, bias)
    return found


def rate(fn: Callable[[], object], layer: nn.Linear, x: Tensor, device: str) -> dict[str, Any]:
    """Time, and what it means in products."""
    with torch.inference_mode():
        found = timed(fn, device, seconds=0.1)
    flops = 2 * x.shape[0] * layer.in_features * layer.out_features
    return found | {"tflops": flops / found["ms"] / 1e9}
