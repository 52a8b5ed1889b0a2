"""Preparing a model: what changes, what does not, and what is refused."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from fp8_qat import convert, fake_quantize, load_fp8, prepare, recipes, save_fp8
from fp8_qat.layers.linear import FrozenLinear, QuantLinear, ReleasedLinear

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
    load_fp8(plain.eval(), tmp_path / "model.safetensors", backend="reference")
    assert torch.equal(plain(x).view(torch.int32), trained.view(torch.int32))


@any_recipe
@pytest.mark.parametrize("autocast", [False, True])
def test_train_forward_equals_deploy_forward_in_bfloat16(name: str, autocast: bool) -> None:
    model, x = mlp(), torch.randn(3, 7, 48)
    model[0].requires_grad_(False)
    if not autocast:
        model, x = model.bfloat16(), x.bfloat16()
    prepare(model, recipes.by_name(name))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model(x)
        trained = model.eval()(x)
        convert(model, backend="reference")
        assert trained.dtype == torch.bfloat16
        assert torch.equal(model(x).view(torch.int16), trained.view(torch.int16))


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
    assert json.loads(json.dumps(handle.as_dict()))["skipped"][0]["kind"] == "MultiheadAttention"
    for word in ("fc", *reasons.keys(), *reasons.values()):
        assert word in handle.summary()


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"include='blocks\.\*'; it must match a linear layer"):
        prepare(Odd(), recipes.rowwise(), include="blocks.*")


def test_predicates_and_patterns_choose() -> None:
    handle = prepare(Odd(), recipes.rowwise(), include=lambda name, layer: layer.out_features == 4)
    assert [entry.name for entry in handle.layers] == ["head"]
    handle = prepare(Odd(), recipes.rowwise(), include=["fc", "h*"])
    assert [entry.name for entry in handle.layers] == ["fc", "head"]
    reasons = {s.name: s.reason for s in prepare(Odd(), recipes.rowwise(), include="fc").skipped}
    assert reasons["head"] == "not named by include"


def test_a_fast_path_that_reads_weights_is_not_fooled() -> None:
    encoder = nn.TransformerEncoderLayer(16, 2, 32)
    with pytest.raises(ValueError, match=r"TransformerEncoderLayer .* reads its weight directly"):
        prepare(encoder, recipes.rowwise())


def test_a_replaced_forward_is_not_passed_by() -> None:
    model = mlp()
    model[0].forward = lambda x: torch.zeros(len(x), 80)
    handle = prepare(model, recipes.rowwise())
    assert [(s.name, s.reason.split(",")[0]) for s in handle.skipped] == [
        ("0", "its forward was replaced")
    ]


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_what_a_hook_makes_from_other_parameters_is_left_alone_and_named(name: str) -> None:
    model, x = mlp(), torch.randn(3, 48)
    prune.l1_unstructured(model[0], name, 0.5)
    expected = model[0](x)
    handle = prepare(model, recipes.rowwise())
    assert [s.name for s in handle.skipped] == ["0"]
    assert "as a hook makes it" in handle.skipped[0].reason
    assert torch.equal(model[0](x), expected)


def test_subclasses_and_other_dtypes_are_named() -> None:
    class Scaled(nn.Linear):
        pass

    model = nn.Sequential(Scaled(4, 4), nn.Linear(4, 4).double())
    before = [type(m) for m in model.modules()]
    with pytest.raises(ValueError, match=r"weight of layer '1': dtype=torch\.float64"):
        prepare(model, recipes.rowwise())
    assert [type(m) for m in model.modules()] == before
    with pytest.raises(ValueError, match=r"weight of layer '1': device=meta"):
        prepare(nn.Sequential(Scaled(4, 4), nn.Linear(4, 4, device="meta")), recipes.rowwise())
    handle = prepare(model.float(), recipes.rowwise())
    assert "a subclass of nn.Linear" in handle.skipped[0].reason
    with pytest.raises(ValueError, match="chosen layers=0"):
        prepare(nn.Conv2d(1, 1, 1), recipes.rowwise())
    with pytest.raises(ValueError, match="choose one of auto, keep, none"):
        prepare(mlp(), recipes.rowwise(), frozen="yes")


def test_hooks_shared_layers_and_copies_survive() -> None:
    shared = nn.Linear(16, 16)
    model, seen = nn.Sequential(shared, nn.ReLU(), shared), []
    shared.register_forward_hook(lambda *args: seen.append(1))
    prepare(model, recipes.rowwise())
    assert model[0] is model[2]
    x = torch.randn(3, 16)
    expected = model(x)
    assert len(seen) == 2
    assert torch.equal(copy.deepcopy(model)(x), expected)


def test_the_handle_switches_off_and_on() -> None:
    model, x = mlp(), torch.randn(5, 48)
    plain = model(x)
    handle = prepare(model, recipes.rowwise())
    quantized = model(x)
    with handle.disabled():
        assert torch.equal(model(x), plain)
    assert torch.equal(model(x), quantized)
    handle.disable()
    assert torch.equal(model(x), plain)
    handle.enable()
    assert torch.equal(model(x), quantized)


def test_a_handle_that_cannot_switch_every_layer_switches_none() -> None:
    model = mlp()
    handle = prepare(model, recipes.rowwise())
    convert(model[2], backend="reference")
    with pytest.raises(ValueError, match="layer '2': kind=Fp8Linear"):
        handle.disable()
    assert model[0].enabled


def test_released_weights_are_gone_and_say_so() -> None:
    model = mlp().requires_grad_(False)
    weight = model[0].weight.clone()
    handle = prepare(model, recipes.rowwise())
    assert dict(model[0].named_parameters()).keys() == {"bias"}
    assert torch.equal(
        model[0].dequantized_weight(), fake_quantize(weight, recipes.rowwise().weight)
    )
    assert not hasattr(model[0], "weight")
    with pytest.raises(AttributeError, match=r"layer '0': weight=released.*dequantized_weight\(\)"):
        _ = model[0].weight
    for refused in (handle.undo, handle.disable):
        with pytest.raises(ValueError, match="released their original weight"):
            refused()
    with pytest.raises(ValueError, match="choose one of refuse, dequantize"):
        handle.undo(released="guess")
    assert isinstance(model[0], ReleasedLinear)


def test_state_dicts_of_frozen_layers_load() -> None:
    source, target = mlp().requires_grad_(False), mlp().requires_grad_(False)
    plain = copy.deepcopy(source)
    for model in (source, target):
        prepare(model, recipes.rowwise())
    x = torch.randn(4, 48)
    target.load_state_dict(source.state_dict())
    assert (target(x) - source(x)).norm() < 1e-6 * source(x).norm()
    again = copy.deepcopy(source)
    again.load_state_dict(source.state_dict())
    assert torch.equal(again(x), source(x))
    target.load_state_dict(plain.state_dict())
    assert torch.equal(target(x), source(x))
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight"):
        target.load_state_dict({k: v for k, v in plain.state_dict().items() if k != "0.weight"})
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        target.load_state_dict(plain.state_dict() | {"0.weight": torch.ones(1, 1)})


def test_layers_that_start_at_zero_train_and_report() -> None:
    layer = nn.Linear(16, 16)
    nn.init.zeros_(layer.weight)
    handle = prepare(layer, recipes.rowwise())
    (gradient,) = torch.autograd.grad(layer(torch.randn(3, 16)).sum(), layer.weight)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
    assert json.loads(json.dumps(handle.as_dict(), allow_nan=False))["layers"][0]["name"] == ""
    json.dumps(convert(layer, backend="reference").as_dict(), allow_nan=False)


def test_undo_and_convert_exclude_each_other() -> None:
    model = mlp()
    handle = prepare(model, recipes.rowwise())
    convert(model, backend="reference")
    with pytest.raises(ValueError, match="layer '0': kind=Fp8Linear; it must be a prepared layer"):
        handle.undo()
