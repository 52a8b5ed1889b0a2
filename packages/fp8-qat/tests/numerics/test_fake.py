"""The straight-through gradient, and that training under it trains."""

import pytest
import torch

from fp8_qat import Spec, dequantize, fake_quantize, quantize, recipes
from fp8_qat.numerics.scales import scale_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("magnitude", [1e-6, 1.0])
@pytest.mark.parametrize("name", recipes.names())
def test_dynamic_gradient_is_the_identity_bit_for_bit(name, magnitude, dtype) -> None:
    recipe = recipes.by_name(name)
    for spec in filter(
        None, (recipe.weight.once(), recipe.activation and recipe.activation.once())
    ):
        x = torch.randn(130, 140).to(dtype).requires_grad_()
        grad = (torch.randn(130, 140) * magnitude).to(dtype)
        (result,) = torch.autograd.grad(fake_quantize(x, spec), x, grad)
        assert torch.equal(result.view(torch.uint8), grad.view(torch.uint8))


@pytest.mark.parametrize(("rule", "mode"), [("multiply", "delayed"), ("divide", "static")])
def test_gradient_of_a_given_scale_is_zero_where_it_saturates(rule: str, mode: str) -> None:
    spec = Spec(granularity="tensor", mode=mode, rule=rule)
    scale = scale_of(torch.full((1, 1), 2.0), rule, spec.fp8, torch.float32)
    x = torch.tensor([-3.0, -2.0, -1.9, 0.0, 2.0, 2.01]).requires_grad_()
    grad = torch.full((6,), 1e-6)
    (result,) = torch.autograd.grad(fake_quantize(x, spec, scale=scale), x, grad)
    assert torch.equal(result, torch.tensor([0.0, 1e-6, 1e-6, 1e-6, 1e-6, 0.0]))


def test_second_derivatives_pass() -> None:
    x = torch.randn(4, 8, dtype=torch.float32, requires_grad=True)
    (first,) = torch.autograd.grad(fake_quantize(x, Spec()).pow(2).sum(), x, create_graph=True)
    assert torch.autograd.grad(first.sum(), x)[0].eq(2.0).all()


@pytest.mark.parametrize("rows", [1, 3000])  # the second is multiplied back part by part
@pytest.mark.parametrize("name", recipes.names())
def test_the_largest_values_of_float16_stay_finite(name: str, rows: int) -> None:
    x = torch.tensor([65504.0, 63600.0, 1.0, -64000.0]).half().repeat(rows, 32)
    spec = recipes.by_name(name).weight.once()
    values = fake_quantize(x, spec)
    assert values.isfinite().all()
    assert torch.allclose(values[:, ::4], x[:, ::4], rtol=0.13)  # half the last step of the codes
    assert torch.equal(values, dequantize(quantize(x, spec), torch.float16))


@pytest.mark.parametrize("rule", ["divide", "multiply"])
def test_rows_of_a_large_tensor_saturate_by_their_own_given_scale(rule: str) -> None:
    spec, x = Spec(rule=rule), torch.rand(3000, 128) * torch.logspace(-2, 2, 3000)[:, None]
    scale = scale_of(x.amax(1, keepdim=True) / 2, rule, spec.fp8, x.dtype)
    x.requires_grad_()
    values = fake_quantize(x, spec, scale=scale)
    (result,) = torch.autograd.grad(values.sum(), x)
    assert torch.equal(result, (x * 2 <= x.amax(1, keepdim=True)).float())
    assert torch.equal(values, dequantize(quantize(x.detach(), spec, scale=scale)))
