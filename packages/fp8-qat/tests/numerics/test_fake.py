"""The straight-through gradient, and that training under it trains."""

import copy

import pytest
import torch
from torch import nn

from fp8_qat import Spec, calibrate, fake_quantize, prepare, recipes
from fp8_qat.numerics.scales import scale_of


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


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


@pytest.mark.parametrize("frozen", ["auto", "keep", "none"])
def test_gradients_of_a_layer_equal_the_written_out_ones(frozen: str) -> None:
    layer = nn.Linear(48, 32)
    layer.weight.requires_grad_(False)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    prepare(layer, recipes.rowwise(), frozen=frozen)
    x = torch.randn(3, 5, 48, requires_grad=True)
    grad = torch.randn(3, 5, 32) * 1e-6
    y = layer(x)
    grads = torch.autograd.grad(y, [x, layer.bias], grad)
    w = fake_quantize(weight, Spec())
    assert torch.equal(y, nn.functional.linear(fake_quantize(x, Spec()), w, bias))
    assert torch.allclose(grads[0], grad @ w, rtol=1e-5, atol=0)
    assert torch.allclose(grads[1], grad.sum((0, 1)), rtol=1e-5, atol=1e-12)


def test_weight_gradient_uses_the_quantised_input() -> None:
    layer = nn.Linear(48, 32)
    prepare(layer, recipes.mxfp8())
    x, grad = torch.randn(6, 48), torch.randn(6, 32)
    (result,) = torch.autograd.grad(layer(x), layer.weight, grad)
    assert torch.allclose(result, grad.T @ fake_quantize(x, recipes.mxfp8().weight), atol=1e-5)


@pytest.mark.parametrize("name", recipes.names())
def test_a_two_layer_net_trains_to_a_hundredth_of_its_loss(name: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(256, 32)
    y = torch.tanh(x @ torch.randn(32, 8) / 4) * 2
    model = mlp(32, 128, 8)
    prepare(model, recipes.by_name(name))
    if name == "static":
        calibrate(model, [x])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(200):
        loss = (model(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 100


def test_autocast_quantises_what_the_product_sees() -> None:
    model = mlp()
    prepare(model, recipes.rowwise())
    x = torch.randn(5, 48)
    other = copy.deepcopy(model).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
        first = model[0](x)
    w = fake_quantize(model[0].weight.detach(), Spec()).bfloat16()
    expected = nn.functional.linear(
        fake_quantize(x.bfloat16(), Spec()), w, model[0].bias.bfloat16()
    )
    assert torch.equal(first, expected)
    assert other(x.bfloat16()).dtype == torch.bfloat16
