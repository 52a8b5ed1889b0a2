"""What only a CUDA device can show; skipped without one."""

import copy

import pytest
import torch
from torch import nn

from fp8_qat import convert, prepare, quantize, quantize_activation, recipes, sqnr

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9),
        reason="needs a CUDA device that multiplies FP8 (sm_89 or newer)",
    ),
]


def activations() -> torch.Tensor:
    return (torch.randn(777, 1024) * torch.randn(1024).exp()).bfloat16().cuda()


@pytest.mark.parametrize("name", recipes.names())
def test_scales_and_bytes_equal_those_of_the_cpu(name: str) -> None:
    x = activations()
    for spec in (recipes.by_name(name).weight, recipes.by_name(name).activation):
        if spec is not None:
            ours, theirs = quantize(x, spec.once()), quantize(x.cpu(), spec.once())
            assert torch.equal(ours.scale.cpu(), theirs.scale)
            assert torch.equal(ours.bytes.cpu(), theirs.bytes)


def test_auto_runs_the_kernel_and_gives_the_same_bytes() -> None:
    x = activations()
    ours = quantize_activation(x, recipes.rowwise().activation)
    theirs = quantize_activation(x, recipes.rowwise().activation, backend="reference")
    assert torch.equal(ours.bytes, theirs.bytes) and torch.equal(ours.scale, theirs.scale)


@pytest.mark.parametrize("name", ["rowwise", "tensorwise"])
@pytest.mark.parametrize("n", [1024, 1000])
def test_scaled_mm_is_within_45_db_of_the_reference(name: str, n: int) -> None:
    layer = nn.Linear(1024, n).cuda().bfloat16()
    prepare(layer, recipes.by_name(name))
    other = copy.deepcopy(layer)
    convert(layer, backend="reference")
    assert convert(other).backend == "scaled_mm"
    x = activations()
    assert sqnr(layer(x), other(x)) > 45


@pytest.mark.parametrize("pow2", [False, True])
def test_transformer_engine_gives_our_bytes_per_tensor(pow2: bool) -> None:
    tensors, tex = engine("float8_tensor")
    x = activations()
    quantizer = tensors.Float8CurrentScalingQuantizer(
        tex.DType.kFloat8E4M3, device=x.device, force_pow_2_scales=pow2
    )
    theirs = quantizer(x)
    ours = quantize(x, recipes.te_current(pow2=pow2).activation)
    assert torch.equal(ours.bytes, theirs._data)
    assert torch.equal(ours.scale.flatten(), theirs._scale_inv.flatten())


@pytest.mark.parametrize("pow2", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_transformer_engine_gives_our_bytes_in_blocks(dimensions: int, pow2: bool) -> None:
    tensors, tex = engine("float8_blockwise_tensor")
    x = activations()[:768]
    quantizer = tensors.Float8BlockQuantizer(
        tex.DType.kFloat8E4M3,
        rowwise=True,
        columnwise=False,
        force_pow_2_scales=pow2,
        block_scaling_dim=dimensions,
    )
    recipe = recipes.block(pow2=pow2)
    ours = quantize(x, recipe.activation if dimensions == 1 else recipe.weight)
    assert torch.equal(ours.bytes, quantizer(x)._rowwise_data)


def engine(module: str):
    pytest.importorskip("transformer_engine.pytorch", reason="needs Transformer Engine")
    tensors = pytest.importorskip(f"transformer_engine.pytorch.tensor.{module}")
    return tensors, pytest.importorskip("transformer_engine_torch")


@pytest.mark.parametrize("backend", ["scaled_mm", "reference"])
def test_the_kernel_drops_no_gradient(backend: str) -> None:
    layer = nn.Linear(1024, 512).cuda().bfloat16()
    prepare(layer, recipes.rowwise())
    convert(layer, backend=backend)
    x = activations().requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None and layer.bias.grad is not None
