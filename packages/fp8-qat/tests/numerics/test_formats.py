"""Codes against ml_dtypes, and rounding against codes."""

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fp8_qat import calibrate, convert, prepare, quantize, recipes
from fp8_qat.numerics.formats import E4M3, E5M2, decode, encode, round_

PUBLIC = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
PRODUCT = {  # the specs that the scaled product covers
    spec
    for name in ("rowwise", "tensorwise", "te_current", "te_current_pow2", "delayed", "static")
    for spec in (recipes.by_name(name).weight, recipes.by_name(name).activation)
}
any_format = pytest.mark.parametrize("format", [E4M3, E5M2], ids=lambda f: f.name)


def bits(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous().view(torch.int32)


def hard_values(format) -> torch.Tensor:
    """Every code's value, every midpoint, their neighbors, all bfloat16 patterns, random."""
    values = decode(torch.arange(256, dtype=torch.uint8).view(format.dtype), format)
    values = values[torch.isfinite(values)].sort().values.double()
    middles = (values[1:] + values[:-1]) / 2
    near = torch.cat([values, middles]).float()
    up, down = (torch.nextafter(near, torch.full_like(near, s)) for s in (torch.inf, -torch.inf))
    bfloat16 = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16).float()
    float32 = torch.randint(-(2**31), 2**31 - 1, (200_000,)).to(torch.int32).view(torch.float32)
    return torch.cat([near, up, down, bfloat16, float32])


@any_format
def test_every_code_decodes_to_its_public_value(format) -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    ours = decode(codes.view(format.dtype), format)
    theirs = codes.numpy().view(PUBLIC[format.name]).astype(np.float32)
    assert np.array_equal(ours.numpy(), theirs, equal_nan=True)
    number = ~np.isnan(theirs)
    assert np.array_equal(np.signbit(ours.numpy())[number], np.signbit(theirs)[number])


@any_format
def test_codes_equal_ml_dtypes_within_the_range(format) -> None:
    x = hard_values(format)
    x = x[x.abs() <= format.max]
    theirs = x.numpy().astype(PUBLIC[format.name]).view(np.uint8)
    assert np.array_equal(encode(x, format).view(torch.uint8).numpy(), theirs)


@any_format
def test_codes_saturate_beyond_the_range_and_keep_nan(format) -> None:
    x = torch.tensor([format.max * 1.01, 465.0 * format.max, torch.inf])
    assert torch.equal(decode(encode(x, format), format), torch.full((3,), format.max))
    assert torch.equal(decode(encode(-x, format), format), torch.full((3,), -format.max))
    assert decode(encode(torch.tensor([torch.nan]), format), format).isnan().all()


class Casts(TorchDispatchMode):
    """Keeps what was cast to FP8."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str((kwargs or {}).get("dtype")).startswith("torch.float8"):
            self.seen.append(args[0])
        return func(*args, **(kwargs or {}))


@any_format
def test_no_value_beyond_the_range_reaches_the_cast(format) -> None:
    with Casts() as casts:
        encode(torch.tensor([1e4, -torch.inf, 3e38]), format)
    assert casts.seen and all(x.abs().max() <= format.max for x in casts.seen)


@pytest.mark.parametrize(
    "backend",
    ["reference", pytest.param("scaled_mm", marks=pytest.mark.multiplies), "weight_only"],
)
@pytest.mark.parametrize("name", recipes.names())
def test_no_layer_casts_a_value_beyond_the_range(name: str, backend: str) -> None:
    recipe = recipes.by_name(name)
    if backend == "scaled_mm" and not {recipe.activation, recipe.weight} <= PRODUCT:
        pytest.skip("refused by scaled_mm")
    layer, x = nn.Linear(64, 32), torch.randn(8, 64)
    with Casts() as casts:
        prepare(layer, recipe)
        if name == "static":
            calibrate(layer, [x])
        layer(x)
        layer(x * 1000).sum().backward()  # far beyond what past steps or calibration saw
        convert(layer, backend=backend)
        layer(x * 1000)
        quantize(x * 3e37, recipe.weight.once())
    assert casts.seen and all(x.abs().max() <= E4M3.max for x in casts.seen)


@any_format
def test_rounding_equals_encoding_and_decoding(format) -> None:
    x = hard_values(format)
    expected = decode(encode(x, format), format)
    rounded = round_(x.clone(), format)
    same = (bits(rounded) == bits(expected)) | (rounded.isnan() & expected.isnan())
    assert same.all(), x[~same]
