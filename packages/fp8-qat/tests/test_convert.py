"""Backends: how close they are, what they refuse, and what the report says."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fp8_qat import calibrate, convert, fake_quantize, prepare, recipes, sqnr
from fp8_qat.backends import scaled_mm


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 100),
    st.integers(1, 70),
    st.booleans(),
    st.sampled_from(["rowwise", "tensorwise", "te_current", "delayed"]),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_scaled_mm_is_within_45_db_of_the_reference(m, k, n, bias, name, dtype) -> None:
    layer = nn.Linear(k, n, bias=bias).to(dtype)
    prepare(layer, recipes.by_name(name))
    other = copy.deepcopy(layer)
    convert(layer)
    convert(other, backend="scaled_mm")
    x = torch.randn(2, m, k).to(dtype)
    exact = layer(x)
    assert other(x).shape == exact.shape and other(x).dtype == dtype
    if m * n > 30:
        assert sqnr(exact, other(x)) > 45


def test_static_and_row_scales_mix_in_scaled_mm() -> None:
    layer, x = nn.Linear(48, 32), torch.randn(9, 48)
    prepare(layer, recipes.static())
    calibrate(layer, [x])
    other = copy.deepcopy(layer)
    convert(layer)
    convert(other, backend="scaled_mm")
    assert sqnr(layer(x), other(x)) > 45


def test_odd_shapes_are_filled_up_and_the_report_says_so() -> None:
    model = mlp(50, 80, 33)
    prepare(model, recipes.rowwise())
    report = convert(model, backend="scaled_mm")
    notes = {layer.name: layer.note for layer in report.layers}
    assert notes == {
        "0": "filled to 80 x 64, multiples of 16",
        "2": "filled to 48 x 80, multiples of 16",
    }
    assert model[2].filled.shape == (48, 80)


def test_weight_only_says_that_activations_are_not_quantised() -> None:
    model, x = mlp(), torch.randn(5, 48)
    prepare(model, recipes.rowwise())
    weight = model[0].quantized_weight()
    report = convert(model, backend="weight_only")
    assert all("not here" in layer.note for layer in report.layers)
    w = weight.codes.float() * weight.scale
    assert torch.equal(model[0](x), nn.functional.linear(x, w, model[0].bias))


def test_the_report_counts_and_compares() -> None:
    model, x = mlp().bfloat16(), torch.randn(64, 48).bfloat16()
    model[0].requires_grad_(False)
    prepare(model, recipes.rowwise())
    report = convert(model, batches=[x])
    first, second = report.layers
    assert (first.bytes_before, first.bytes_after) == (80 * 48 * 2, 80 * 48 + 80 * 4)
    assert first.output_sqnr_db is None and 25 < second.output_sqnr_db < 35
    assert 28 < first.weight_sqnr_db < 35
    saved = report.bytes_saved
    assert saved == 80 * 48 * 2 + 32 * 80 * 2 - (80 * 48 + 80 * 4 + 32 * 80 + 32 * 4)
    assert json.loads(json.dumps(report.as_dict()))["bytes_saved"] == saved
    assert "2 layers on backend reference, recipe rowwise" in str(report)


def test_the_report_names_what_stays_in_high_precision() -> None:
    model = mlp()
    prepare(model, recipes.rowwise(), exclude="2")
    report = convert(model)
    assert report.left == ("2",)
    assert "1 linear layers stay in high precision" in str(report)
    with pytest.raises(ValueError, match="already deployed"):
        prepare(model, recipes.rowwise())


def test_the_report_measures_the_weight_as_trained() -> None:
    layer = nn.Linear(48, 32)
    prepare(layer, recipes.tensorwise())
    with torch.no_grad():
        layer.weight[0, 0] = 1e4
    expected = sqnr(layer.weight, fake_quantize(layer.weight, recipes.tensorwise().weight))
    (entry,) = convert(layer).layers
    assert entry.weight_sqnr_db == expected


@pytest.mark.parametrize("name", ["block", "mxfp8", "weight_only"])
def test_scaled_mm_names_the_layers_it_refuses_and_changes_nothing(name: str) -> None:
    model = mlp()
    prepare(model, recipes.by_name(name))
    kinds = [type(m) for m in model.modules()]
    with pytest.raises(ValueError, match=r"cannot run every layer(.|\n)*0: recipe(.|\n)*2: recipe"):
        convert(model, backend="scaled_mm")
    assert [type(m) for m in model.modules()] == kinds


def test_devices_without_fp8_products_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    (problem,) = scaled_mm._device_problems(torch.device("cuda"))
    assert "A100 (sm_80) does not multiply FP8" in problem and "weight_only" in problem
    (problem,) = scaled_mm._device_problems(torch.device("mps"))
    assert "no scaled product" in problem


def test_bad_calls_are_refused() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="no prepared layer"):
        convert(model)
    prepare(model, recipes.rowwise())
    with pytest.raises(ValueError, match="choose one of auto, reference, scaled_mm"):
        convert(model, backend="fast")
    with pytest.raises(ValueError, match="already prepared"):
        prepare(model, recipes.rowwise())


def test_auto_is_the_reference_on_a_cpu_and_says_so() -> None:
    model = mlp()
    prepare(model, recipes.rowwise())
    assert convert(model).backend == "reference"


def test_gradients_reach_the_input_of_a_deployed_layer() -> None:
    layer = nn.Linear(48, 32)
    prepare(layer, recipes.rowwise())
    convert(layer)
    x = torch.randn(4, 48, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0
