"""Backends: how close they are, what they refuse, and what the report says."""

import copy
import json

import pytest
import torch
from torch import nn

from fp8_qat import calibrate, convert, dequantized, fake_quantize, prepare, recipes, sqnr
from fp8_qat.backends import LAYERS
from fp8_qat.layers.deployed import Fp8Linear


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


@pytest.mark.parametrize("deployed", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_dequantized_copy_is_plain_and_computes_what_stored_weights_do(
    deployed: bool, frozen: bool
) -> None:
    model, x = mlp(), torch.randn(5, 48)
    model[2].requires_grad_(not frozen)
    prepare(model, recipes.rowwise())
    stored = copy.deepcopy(model)
    convert(stored, backend="weight_only")
    if deployed:
        convert(model, backend="reference")
    kinds = [type(layer) for layer in model]
    plain = dequantized(model)
    assert [type(layer) for layer in plain] == [nn.Linear, nn.GELU, nn.Linear]
    assert torch.equal(plain(x), stored(x))
    assert [type(layer) for layer in model] == kinds
    assert type(dequantized(model[0])) is nn.Linear
    assert list(plain.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_dequantized_copy_shares_and_hooks_the_layers_that_its_model_does() -> None:
    shared, x, seen = nn.Linear(48, 48), torch.randn(5, 48), []
    shared.register_forward_hook(lambda *args: seen.append(1))
    model = nn.Sequential(shared, nn.GELU(), shared)
    prepare(model, recipes.rowwise())
    convert(model, backend="weight_only")
    plain = dequantized(model)
    assert [type(layer) for layer in plain] == [nn.Linear, nn.GELU, nn.Linear]
    assert plain[0] is plain[2] and vars(plain[0]).keys() == vars(nn.Linear(1, 1)).keys()
    assert torch.equal(plain(x), model(x))
    assert len(seen) == 4


def test_what_is_no_tensor_is_refused_by_name() -> None:
    """The second pattern is that of a signature that is checked while tests run."""
    model = mlp()
    prepare(model, recipes.rowwise())
    calls = {
        "x=list": lambda: fake_quantize([1.0], recipes.rowwise().weight),  # type: ignore[arg-type]
        "signal=list": lambda: sqnr([1.0], torch.ones(1)),  # type: ignore[arg-type]
        "input of .*=ndarray": lambda: model(torch.ones(2, 48).numpy()),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=rf"{name}; it must be a torch.Tensor|Type-check"):
            call()
    with pytest.raises(ValueError, match="approximation=tensor on meta; it must be on cpu"):
        sqnr(torch.ones(2), torch.ones(2, device="meta"))


def test_the_report_counts_and_compares() -> None:
    model, x = mlp().bfloat16(), torch.randn(64, 48).bfloat16()
    model[0].requires_grad_(False)
    prepare(model, recipes.rowwise())
    report = convert(model, backend="reference", batches=[x])
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
    report = convert(model, backend="reference")
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
    (entry,) = convert(layer, backend="reference").layers
    assert entry.weight_sqnr_db == expected


def test_bad_calls_are_refused() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="prepared layers=0"):
        convert(model, backend="reference")
    prepare(model, recipes.rowwise())
    with pytest.raises(ValueError, match="choose one of auto, reference, scaled_mm"):
        convert(model, backend="fast")
    with pytest.raises(ValueError, match="already prepared"):
        prepare(model, recipes.rowwise())


PRODUCT = pytest.param("scaled_mm", marks=pytest.mark.multiplies)
HERE = ["reference", PRODUCT, "weight_only", "torchao"]  # what a CPU can run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("product", [None, torch.bfloat16])
@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("name", recipes.names())
def test_what_is_deployed_agrees_with_what_was_trained(name, backend, product, dtype) -> None:
    if backend == "torchao":
        pytest.importorskip("torchao", reason="needs pip install 'fp8-qat[torchao]'")
    if product is not None and backend != "weight_only":
        pytest.skip("multiplies in the dtype of the model")
    layer, x = nn.Linear(192, 576).to(dtype), torch.randn(64, 192).to(dtype)
    prepare(layer, recipes.by_name(name))
    if name in ("static", "delayed"):
        calibrate(layer, [x])
    trained = layer.eval()(x)
    if LAYERS[backend].problems(layer, layer.recipe, layer.device):
        pytest.skip("refused, by name")
    convert(layer, backend=backend, product=product)
    assert layer(x).dtype == dtype
    assert sqnr(trained, layer(x)) >= LAYERS[backend].agrees_db


def test_products_in_bfloat16_are_near_those_in_float32() -> None:
    layer, x = nn.Linear(192, 576), torch.randn(64, 192)
    prepare(layer, recipes.rowwise())
    other = copy.deepcopy(layer)
    convert(layer, backend="weight_only")
    convert(other, backend="weight_only", product=torch.bfloat16)
    assert 45 < sqnr(layer(x), other(x)) < 60
    x.requires_grad_()
    exact, near = (torch.autograd.grad(m(x).sum(), x)[0] for m in (layer, other))
    assert sqnr(exact, near) > 45


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_in_bfloat16_take_inputs_of_any_dtype_and_give_it_back(dtype) -> None:
    layer = nn.Linear(48, 32).to(dtype)
    prepare(layer, recipes.rowwise())
    convert(layer, backend="weight_only", product=torch.bfloat16)
    x = torch.randn(5, 48)
    assert layer(x).dtype == torch.float32 and layer(x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(layer(x).bfloat16(), layer(x.bfloat16()))


def test_weights_are_held_once_in_one_byte() -> None:
    layer = nn.Linear(192, 576)
    prepare(layer, recipes.rowwise())
    convert(layer, backend="weight_only", product=torch.bfloat16)
    layer(torch.randn(3, 192))
    held = [*layer.parameters(), *layer.buffers()]
    assert sum(t.numel() * t.element_size() for t in held) == 576 * 192 + 576 * 4 + 576 * 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"backend": "reference", "product": torch.bfloat16},
            r"product=torch\.bfloat16; it must be None",
        ),
        (
            {"backend": "weight_only", "product": torch.float16},
            r"it must be torch\.bfloat16, or None",
        ),
    ],
)
def test_products_that_a_backend_does_not_offer_are_refused(given, message) -> None:
    model = mlp()
    prepare(model, recipes.rowwise())
    with pytest.raises(ValueError, match=message):
        convert(model, **given)
    assert not any(isinstance(m, Fp8Linear) for m in model.modules())


def test_gradients_reach_the_input_of_a_deployed_layer() -> None:
    layer = nn.Linear(48, 32)
    prepare(layer, recipes.rowwise())
    convert(layer, backend="reference")
    x = torch.randn(4, 48, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0
