"""The product of FP8 codes: how close it is, what CUDA asks of it, and what it refuses."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import ScalingType

from fp8_qat import Recipe, Spec, calibrate, convert, prepare, recipes, sqnr
from fp8_qat.backends import scaled_mm


def mlp(k: int = 48, hidden: int = 80, n: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, n))


@pytest.mark.multiplies
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
    convert(layer, backend="reference")
    convert(other, backend="scaled_mm")
    x = torch.randn(2, m, k).to(dtype)
    exact = layer(x)
    assert other(x).shape == exact.shape and other(x).dtype == dtype
    if m * n > 30:
        assert sqnr(exact, other(x)) > 45


def broken_rules(a, b, scales, kind, *, bias, dtype, fast) -> list[str]:
    """What CUDA asks of a scaled product (PyTorch, ScaledBlas.cpp), which a CPU does not ask."""
    (m, k), n = a.shape, b.shape[1]
    (scale_a, scale_b), row = scales, kind == ScalingType.RowWise
    shapes = (scale_a.shape, scale_b.shape)
    scales_fit = shapes == ((m, 1), (1, n)) if row else scale_a.numel() == scale_b.numel() == 1
    rules = {
        "both axes of the weight are multiples of 16": k % 16 == 0 and n % 16 == 0,
        "the first operand is row-major": a.is_contiguous(),
        "the second operand is column-major": b.t().is_contiguous(),
        "E5M2 is not multiplied with E5M2": not a.dtype == b.dtype == torch.float8_e5m2,
        "scales are contiguous": scale_a.is_contiguous() and scale_b.is_contiguous(),
        "scales are float32": scale_a.dtype == scale_b.dtype == torch.float32,
        "scales fit": scales_fit,
        "float32 takes no bias": bias is None or dtype != torch.float32,
        "the bias has the output's dtype": bias is None or bias.dtype == dtype,
        "the bias fits": bias is None or bias.shape == (n,),
    }
    return [rule for rule, holds in rules.items() if not holds]


@pytest.mark.multiplies
@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
    st.sampled_from(["rowwise", "tensorwise", "static", "delayed", "mixed"]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
    st.booleans(),
)
def test_what_reaches_the_product_keeps_the_rules_of_cuda(
    m, k, n, bias, name, dtype, cast, turned
) -> None:
    wide = Recipe(name="mixed", weight=Spec(format="e5m2"), activation=Spec(granularity="tensor"))
    layer, x = nn.Linear(k, n, bias=bias).to(dtype), torch.randn(m, k).to(dtype)
    if turned:  # column by column in memory
        layer.weight, x = nn.Parameter(layer.weight.detach().T.contiguous().T), x.T.contiguous().T
    prepare(layer, wide if name == "mixed" else recipes.by_name(name))
    if name == "static":
        calibrate(layer, [x])
    convert(layer, backend="scaled_mm")
    broken = []

    def product(*args, **kwargs):
        broken.extend(broken_rules(*args, **kwargs))
        return real(*args, **kwargs)

    real = scaled_mm.scaled_product
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16, cast):
        patch.setattr(scaled_mm, "scaled_product", product)
        y = layer(x)
    assert not broken and y.dtype == (torch.bfloat16 if cast else dtype)


@pytest.mark.parametrize(
    "backend", [pytest.param("scaled_mm", marks=pytest.mark.multiplies), "torchao"]
)
@pytest.mark.parametrize("name", ["rowwise", "static", "delayed"])
def test_gradients_of_w8a8_are_those_of_the_reference(name: str, backend: str) -> None:
    if backend == "torchao":
        pytest.importorskip("torchao", reason="needs pip install 'fp8-qat[torchao]'")
    layer, x = nn.Linear(48, 33), torch.randn(2, 9, 48)
    prepare(layer, recipes.by_name(name))
    if name != "rowwise":
        calibrate(layer, [x / 2])  # so that some inputs saturate
    other = copy.deepcopy(layer)
    convert(layer, backend="reference")
    convert(other, backend=backend)
    x.requires_grad_()
    grad = torch.randn(2, 9, 33) * 1e-6
    pairs = [torch.autograd.grad(m(x), [x, m.bias], grad) for m in (layer, other)]
    for theirs, ours in zip(*pairs, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-11)
    assert (pairs[1][0] == 0).any() == (name != "rowwise")


@pytest.mark.multiplies
def test_static_and_row_scales_mix_in_scaled_mm() -> None:
    layer, x = nn.Linear(48, 32), torch.randn(9, 48)
    prepare(layer, recipes.static())
    calibrate(layer, [x])
    other = copy.deepcopy(layer)
    convert(layer, backend="reference")
    convert(other, backend="scaled_mm")
    assert sqnr(layer(x), other(x)) > 45


@pytest.mark.multiplies
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


@pytest.mark.parametrize("name", ["block", "mxfp8", "weight_only"])
def test_scaled_mm_names_the_layers_it_refuses_and_changes_nothing(name: str) -> None:
    model = mlp()
    prepare(model, recipes.by_name(name))
    kinds = [type(m) for m in model.modules()]
    with pytest.raises(
        ValueError, match=r"it must run every layer(.|\n)*0: recipe(.|\n)*2: recipe"
    ):
        convert(model, backend="scaled_mm")
    assert [type(m) for m in model.modules()] == kinds


def test_devices_without_fp8_products_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    (problem,) = scaled_mm._device_problems(torch.device("cuda"))
    assert "A100 (sm_80); it must be sm_89" in problem and "weight_only" in problem
    (problem,) = scaled_mm._device_problems(torch.device("mps"))
    assert "it must have a scaled product" in problem
    with pytest.raises(ValueError, match=r"input of layer '0': dtype=torch\.float16.*tensorwise"):
        scaled_mm._check_row_scaled("layer '0'", torch.float16, torch.device("cuda"))


def test_the_product_of_e5m2_with_e5m2_is_refused() -> None:
    layer, wide = nn.Linear(16, 16), Spec(format="e5m2")
    prepare(layer, Recipe(name="wide", weight=wide, activation=wide))
    with pytest.raises(ValueError, match="recipe='wide'; one operand must be E4M3"):
        convert(layer, backend="scaled_mm")


@pytest.mark.multiplies
def test_the_shorter_accumulator_is_asked_for_and_reported(monkeypatch) -> None:
    asked, real = [], scaled_mm.scaled_product

    def product(*args, fast, **kwargs):
        asked.append(fast)
        return real(*args, fast=fast, **kwargs)

    monkeypatch.setattr(scaled_mm, "scaled_product", product)
    for fast in (False, True):
        layer = nn.Linear(48, 32)
        prepare(layer, recipes.rowwise())
        report = convert(layer, backend="scaled_mm", fast=fast)
        layer(torch.randn(3, 48))
        assert report.backend == "scaled_mm"
        assert ("shorter accumulator" in report.layers[0].note) == fast
    assert asked == [False, True]
    layer = nn.Linear(48, 32)
    prepare(layer, recipes.rowwise())
    with pytest.raises(ValueError, match="fast=True; it must be False on backend 'reference'"):
        convert(layer, backend="reference", fast=True)


def test_a_pytorch_without_a_product_on_cpus_is_refused_in_words(monkeypatch):
    model = prepare_one()
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: False)
    with pytest.raises(ValueError, match=r"torch=.*; it must be newer to have a scaled product"):
        convert(model, backend="scaled_mm")
    assert convert(model, backend="reference").backend == "reference"


def prepare_one():
    model = nn.Sequential(nn.Linear(32, 32))
    prepare(model, recipes.rowwise())
    return model
