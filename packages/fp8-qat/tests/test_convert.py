"""Backends: how close they are, what they refuse, and what the report says."""

import json

import pytest
import torch
from torch import nn

from fp8_qat import convert, fake_quantize, prepare, recipes, sqnr


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


def test_weight_only_says_that_activations_are_not_quantized() -> None:
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


def test_bad_calls_are_refused() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="prepared layers=0"):
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
