"""Layers in training: their gradients, autocast, and that they train."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from fp8_qat import Spec, calibrate, convert, fake_quantize, prepare, recipes


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


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


def test_a_weight_that_was_quantized_once_is_refused_where_it_is_unfrozen() -> None:
    model = mlp().requires_grad_(False)
    handle, x = prepare(model, recipes.rowwise(), frozen="keep"), torch.randn(3, 48)
    answer = model(x)
    model[2].requires_grad_(True)
    for refused in (lambda: model(x), lambda: convert(model, backend="reference")):
        with pytest.raises(ValueError, match=r"weight of layer '2': requires_grad=True; .* undo"):
            refused()
    with handle.disabled():
        model(x).sum().backward()
    assert model[2].weight.grad is not None
    model.requires_grad_(False)
    assert torch.equal(model(x), answer)
    handle.undo()
    model.requires_grad_(True)
    prepare(model, recipes.rowwise(), frozen="keep")
    model(x).sum().backward()
    assert all(layer.weight.grad is not None for layer in (model[0], model[2]))


def test_a_weight_that_was_overwritten_since_it_was_quantized_is_not_converted() -> None:
    model, x = mlp().requires_grad_(False), torch.randn(3, 48)
    prepare(model, recipes.rowwise(), frozen="keep")
    model.to(torch.bfloat16).to(torch.float32)  # which keeps what it is
    model[2].weight.data += 1  # as LoRA is merged
    with pytest.raises(ValueError, match=r"weight of layer '2': changed=True; it was quantized"):
        convert(model, backend="reference")
    model.load_state_dict(model.state_dict())
    plain = nn.functional.linear(model[1](model[0](x)), model[2].weight, model[2].bias)
    convert(model, backend="reference")
    assert (model(x) - plain).norm() < 0.1 * plain.norm()


def test_a_weight_that_is_overwritten_is_refused_by_the_next_call() -> None:
    model, x = mlp().requires_grad_(False), torch.randn(3, 48)
    handle = prepare(model, recipes.rowwise(), frozen="keep")
    answer = model(x)
    with torch.no_grad():
        model[2].weight *= 2
    with pytest.raises(ValueError, match=r"weight of layer '2': changed=True; it was quantized"):
        model(x)
    with handle.disabled():
        model(x)
    with torch.no_grad():
        model[2].weight /= 2  # back to what it was
    assert torch.equal(model(x), answer)
    assert torch.equal(copy.deepcopy(model)(x), answer)


def test_a_weight_that_is_overwritten_and_cast_is_not_converted() -> None:
    model = mlp().requires_grad_(False)
    prepare(model, recipes.rowwise(), frozen="keep")
    model[2].weight.data += 1  # as LoRA is merged
    model.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"weight of layer '2': changed=True; it was quantized"):
        convert(model, backend="reference")


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.zeros(80, 48))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.added


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: parametrize.register_parametrization(layer, "weight", Added()),
        lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    ],
)
def test_a_weight_that_was_quantized_once_is_refused_where_it_is_made_anew(change) -> None:
    model, x = mlp().requires_grad_(False), torch.randn(3, 48)
    handle = prepare(model, recipes.rowwise(), frozen="keep")
    change(model[0])
    with pytest.raises(ValueError, match=r"weight of layer '0': kind=.* must not be made anew"):
        model(x)
    with handle.disabled():
        assert model(x).shape == (3, 32)


def test_weight_gradient_uses_the_quantized_input() -> None:
    layer = nn.Linear(48, 32)
    prepare(layer, recipes.mxfp8())
    x, grad = torch.randn(6, 48), torch.randn(6, 32)
    (result,) = torch.autograd.grad(layer(x), layer.weight, grad)
    assert torch.allclose(result, grad.T @ fake_quantize(x, recipes.mxfp8().weight), atol=1e-5)


KINDS = ("rowwise", "tensorwise", "delayed", "static", "block", "mxfp8", "weight_only")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in KINDS else pytest.mark.nightly)
        for name in recipes.names()  # the others are kinds of these
    ],
)
def test_a_two_layer_net_trains_to_a_hundredth_of_its_loss(name: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(256, 32)
    y = torch.tanh(x @ torch.randn(32, 8) / 4) * 2
    model = mlp(32, 128, 8)
    prepare(model, recipes.by_name(name))
    if name == "static":
        calibrate(model, [x])
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(200):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 100


def test_autocast_quantizes_what_the_product_sees() -> None:
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
