"""Fusing norms and activations into deployed layers of a model."""

import copy

import pytest
import torch
from torch import nn

from fp8_qat import convert, dequantized, fuse, prepare, recipes, sqnr

pytestmark = pytest.mark.multiplies

PAIRS = [("norm", "fc1"), ("act", "fc2")]


class Mlp(nn.Module):
    def __init__(self, act: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(48, eps=1e-6)
        self.fc1, self.act, self.fc2 = nn.Linear(48, 96), act or nn.GELU(), nn.Linear(96, 48)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        self.wide = nn.LayerNorm(96)  # that this model does not run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(self.norm(x))))


def deployed(act: nn.Module | None = None) -> Mlp:
    model = Mlp(act).eval()
    prepare(model, recipes.rowwise())
    convert(model, backend="scaled_mm")
    return model


def joined() -> Mlp:
    model = deployed()
    fuse(model, PAIRS)
    return model


@torch.no_grad()
def test_a_fused_model_computes_the_same_and_keeps_its_names() -> None:
    model = deployed()
    fused = copy.deepcopy(model)
    fuse(fused, PAIRS)
    x = torch.randn(5, 7, 48) * 3
    assert sqnr(model(x), fused(x)) > 60
    assert model.state_dict().keys() == fused.state_dict().keys()
    other = copy.deepcopy(fused)
    other.norm.weight.mul_(2.0)  # the copy's layer reads the copy's norm
    assert not torch.equal(other(x), fused(x))


@torch.no_grad()
def test_a_fused_norm_reads_its_input_uncast_under_autocast() -> None:
    model = deployed()
    fused, x = copy.deepcopy(model), torch.randn(5, 48) + 100  # whose spread bfloat16 cannot hold
    fuse(fused, PAIRS)
    with torch.autocast("cpu", torch.bfloat16):
        one, other = model(x), fused(x)
    assert one.dtype == other.dtype == torch.bfloat16
    assert sqnr(one, other) > 30


@torch.no_grad()
def test_a_dequantized_copy_computes_what_fusing_had_passed_on() -> None:
    model, x = deployed(), torch.randn(5, 48) * 3 + 2
    plain = dequantized(model)
    fuse(model, PAIRS)
    again = dequantized(model)
    assert [type(m) for m in again.modules()] == [type(m) for m in Mlp().modules()]
    assert torch.equal(again(x), plain(x))
    assert sqnr(again(x), model(x)) > 25


@pytest.mark.parametrize(
    ("make", "pairs", "message"),
    [
        (Mlp, PAIRS, "is no deployed layer"),
        (deployed, [("fc1", "fc2")], "neither an nn.LayerNorm nor an nn.GELU"),
        (deployed, [("norm", "fc2")], "the layer reads 96"),
        (deployed, [("nowhere", "fc2")], "module='nowhere'; the model must have it"),
        (deployed, [("act", "fc2"), ("act", "fc2")], "one norm or activation, and is named"),
        (deployed, [("act", "fc2"), ("wide", "fc2")], "one norm or activation, and is named"),
        (joined, [("wide", "fc2")], "one norm or activation, and is named or fused"),
        (lambda: deployed(nn.GELU(approximate="tanh")), PAIRS, "tanh approximation"),
    ],
)
def test_pairs_that_cannot_be_fused_are_refused(make, pairs, message) -> None:
    model = make()
    kinds = [type(m) for m in model.modules()]
    with pytest.raises(ValueError, match=message):
        fuse(model, pairs)
    assert [type(m) for m in model.modules()] == kinds


@pytest.mark.parametrize("trained", ["", "fc1.bias", "norm.weight"])
def test_a_fused_layer_drops_no_gradient_without_a_word(trained: str) -> None:
    model = joined()
    for name, held in model.named_parameters():
        held.requires_grad_(name == trained)
    x = torch.randn(3, 48, requires_grad=not trained)
    with pytest.raises(
        ValueError, match=r"layer 'fc1': fused=True; .* passes no gradient.*torch\.no_grad"
    ):
        model(x)
