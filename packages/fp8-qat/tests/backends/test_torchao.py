"""torchao multiplies our codes, where it is installed."""

import copy
import sys

import pytest
import torch
from torch import nn

from fp8_qat import Spec, convert, prepare, quantize, recipes, sqnr

TENSORS = "torchao.quantization.quantize_.workflows.float8.float8_tensor"


def test_without_torchao_the_refusal_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, TENSORS, None)
    layer = nn.Linear(32, 48)
    prepare(layer, recipes.rowwise())
    with pytest.raises(ValueError, match=r"pip install 'fp8-qat\[torchao\]'"):
        convert(layer, backend="torchao")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["rowwise", "tensorwise", "weight_only", "delayed"])
def test_torchao_agrees_with_the_reference(name: str, dtype: torch.dtype) -> None:
    pytest.importorskip("torchao", reason="needs pip install 'fp8-qat[torchao]'")
    layer = nn.Linear(64, 48).to(dtype)
    prepare(layer, recipes.by_name(name))
    other = copy.deepcopy(layer)
    convert(layer, backend="reference")
    convert(other, backend="torchao")
    x = torch.randn(3, 5, 64).to(dtype)
    x[1, 2] = 0.0
    assert other(x).shape == (3, 5, 48) and other(x).dtype == dtype
    assert sqnr(layer(x), other(x)) > 45


def varied(dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(64, 96) * torch.randn(96).exp()).to(dtype)


@pytest.mark.parametrize(("granularity", "name"), [("row", "PerRow"), ("tensor", "PerTensor")])
def test_bytes_of_float32_equal_those_of_torchao_inference(granularity: str, name: str) -> None:
    tensors = pytest.importorskip(TENSORS, reason="needs pip install 'fp8-qat[torchao]'")
    kind = getattr(pytest.importorskip("torchao.quantization"), name)
    x = varied(torch.float32)
    theirs = tensors.Float8Tensor.from_hp(x, granularity=kind())
    ours = quantize(x, Spec(granularity=granularity))
    assert torch.equal(ours.codes.view(torch.uint8), theirs.qdata.view(torch.uint8))
    assert torch.equal(ours.scale, theirs.scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["tensorwise", "rowwise_pow2"])
def test_bytes_equal_those_of_torchao_training(name: str, dtype: torch.dtype) -> None:
    config = pytest.importorskip("torchao.float8.config", reason="needs torchao")
    scaling = pytest.importorskip("torchao.float8.float8_scaling_utils")
    training = pytest.importorskip("torchao.float8.float8_training_tensor")
    rows = name == "rowwise_pow2"
    granularity = config.ScalingGranularity
    x = varied(dtype)
    theirs = scaling.hp_tensor_to_float8_dynamic(
        x,
        torch.float8_e4m3fn,
        training.LinearMMConfig(),
        scaling_granularity=granularity.AXISWISE if rows else granularity.TENSORWISE,
        axiswise_dim=-1 if rows else None,
        round_scales_to_power_of_2=rows,
    )
    ours = quantize(x, recipes.by_name(name).weight)
    assert torch.equal(ours.bytes, theirs._data.view(torch.uint8))
    assert torch.equal(1.0 / ours.scale.flatten(), theirs._scale.flatten())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "mode"), [("mxfp8", "RCEIL"), ("mxfp8_floor", "FLOOR")])
def test_bytes_equal_those_of_torchao_mx(name: str, mode: str, dtype: torch.dtype) -> None:
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor", reason="needs torchao")
    x = varied(dtype)
    scale, codes = mx.to_mx(x, torch.float8_e4m3fn, 32, mx.ScaleCalculationMode[mode])
    ours = quantize(x, recipes.by_name(name).weight)
    assert torch.equal(ours.bytes, codes.view(torch.uint8))
    assert torch.equal(ours.exponents, scale.view(torch.uint8))


def test_block_recipes_are_refused() -> None:
    layer = nn.Linear(64, 48)
    prepare(layer, recipes.block())
    with pytest.raises(ValueError, match="scales blocks"):
        convert(layer, backend="torchao")
