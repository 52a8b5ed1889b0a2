"""Preparing a model: what changes, what does not, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from fp8_qat import convert, load_fp8, prepare, recipes, save_fp8, sqnr
from fp8_qat.linear import FrozenLinear, QuantLinear, ReleasedLinear

WITHOUT_CALIBRATION = [name for name in recipes.names() if name != "static"]
any_recipe = pytest.mark.parametrize("name", WITHOUT_CALIBRATION)


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


@any_recipe
@pytest.mark.parametrize("frozen", ["auto", "keep", "none"])
def test_train_forward_equals_deploy_forward(name, frozen, tmp_path) -> None:
    plain = mlp()
    plain[0].requires_grad_(False)
    model = copy.deepcopy(plain)
    prepare(model, recipes.by_name(name), frozen=frozen)
    x = torch.randn(3, 7, 48)
    for _ in range(3):
        model(x)
    trained = model.eval()(x)
    convert(model, backend="reference")
    assert torch.equal(model(x).view(torch.int32), trained.view(torch.int32))
    save_fp8(model, tmp_path / "model.safetensors")
    load_fp8(plain.eval(), tmp_path / "model.safetensors")
    assert torch.equal(plain(x).view(torch.int32), trained.view(torch.int32))


def test_state_dict_names_stay() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    names = list(model.state_dict())
    handle = prepare(model, recipes.rowwise())
    assert sorted(model.state_dict()) == sorted(names)
    assert isinstance(model[0], ReleasedLinear) and isinstance(model[2], QuantLinear)
    handle.undo(released="dequantize")
    assert list(model.state_dict()) == names


def test_undo_restores_everything() -> None:
    model = mlp()
    model[2].requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modules, x = [type(m) for m in model.modules()], torch.randn(5, 48)
    expected = model(x)
    handle = prepare(model, recipes.delayed(), frozen="keep")
    assert isinstance(model[2], FrozenLinear)
    assert not torch.equal(model(x), expected)
    handle.undo()
    assert [type(m) for m in model.modules()] == modules
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model(x), expected)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2)
        self.fc = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)
        self.conv = nn.Conv2d(3, 4, 2)
        self.norm = nn.LayerNorm(16)


def test_summary_names_every_skipped_layer_and_why() -> None:
    handle = prepare(Odd(), recipes.rowwise(), exclude="head")
    reasons = {s.name: s.reason for s in handle.skipped}
    assert reasons.keys() == {"attention", "attention.out_proj", "head", "conv"}
    assert "reads its weight directly" in reasons["attention.out_proj"]
    for word in ("fc", *reasons.keys(), *reasons.values()):
        assert word in handle.summary()


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"include pattern 'blocks\.\*' matches no linear layer"):
        prepare(Odd(), recipes.rowwise(), include="blocks.*")


def test_scaled_mm_is_close_to_the_reference() -> None:
    model = mlp()
    x = torch.randn(33, 48)
    prepare(model, recipes.rowwise())
    other = copy.deepcopy(model)
    convert(model)
    convert(other, backend="scaled_mm")
    assert sqnr(model(x), other(x)) > 45
