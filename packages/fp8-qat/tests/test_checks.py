"""Public functions refuse tensors of another shape, type or device by name and rule."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fp8_qat
from fp8_qat import (
    QuantizedTensor,
    Spec,
    calibrate,
    convert,
    dequantize,
    fake_quantize,
    gelu_quantize,
    layer_norm_quantize,
    layer_sqnr,
    prepare,
    quantize,
    quantize_activation,
    recipes,
    sqnr,
)
from fp8_qat.numerics.scales import Scale

X, NORM, ONE = torch.randn(6, 32), torch.ones(32), torch.ones(1, 1)
ROW, GIVEN = Spec(granularity="row"), Spec(mode="static", granularity="tensor")


def model(recipe: str = "rowwise", backend: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(32, 16))
    prepare(made, recipes.by_name(recipe))
    if backend:
        convert(made, backend=backend)
    return made


def fitted(moments: Tensor) -> Tensor:
    made = nn.Sequential(nn.Linear(32, 16)).requires_grad_(False)
    prepare(made, recipes.rowwise(), moments={"0": moments})
    return made(X)


CALLS: dict[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "quantize": (lambda x: quantize(x, ROW), (X,)),
    "quantize by scale": (lambda x, s: quantize(x, GIVEN, scale=Scale(None, s)), (X, ONE)),
    "quantize by multiplier": (lambda x, m: quantize(x, GIVEN, scale=Scale(m, ONE)), (X, ONE)),
    "fake_quantize": (lambda x: fake_quantize(x, ROW), (X,)),
    "fake_quantize by scale": (lambda x, s: fake_quantize(x, GIVEN, scale=Scale(s, s)), (X, ONE)),
    "dequantize": (
        lambda codes, scale: dequantize(QuantizedTensor(codes=codes, scale=scale, spec=ROW)),
        (X.to(torch.float8_e4m3fn), torch.ones(6, 1)),
    ),
    "quantize_activation": (lambda x: quantize_activation(x, ROW), (X,)),
    "gelu_quantize": (lambda x: gelu_quantize(x, ROW), (X,)),
    "layer_norm_quantize": (lambda x, w, b: layer_norm_quantize(x, w, b, ROW), (X, NORM, NORM)),
    "sqnr": (sqnr, (X, X)),
    "prepared": (lambda x: model()(x), (X,)),
    "converted": (lambda x: model(backend="reference")(x), (X,)),
    "converted weights": (lambda x: model(backend="weight_only")(x), (X,)),
    "prepare": (lambda moments: fitted(moments), (X.T @ X,)),
    "layer_sqnr": (lambda x: layer_sqnr(model(), [x]), (X,)),
    "calibrate": (lambda x: calibrate(model("static"), [x]), (X,)),
}
WRONG: dict[str, Callable[[Tensor], object]] = {
    "an axis more": lambda x: x[None],
    "a value less": lambda x: x[..., :-1],
    "no axes": lambda x: x.flatten()[0],
    "whole numbers": lambda x: x.int(),
    "double": lambda x: x.double(),
    "another device": lambda x: x.to("meta"),
    "no tensor": lambda x: x.float().numpy(),
    "a list": lambda x: x.tolist(),
}
ALONE = {"a value less", "another device"}  # one tensor of any width, anywhere
TAKEN = {
    **{(name, 0): ALONE for name in ("quantize", "fake_quantize", "quantize_activation")},
    ("gelu_quantize", 0): ALONE,
    **{(f"{name} by scale", 0): {"a value less"} for name in ("quantize", "fake_quantize")},
    ("quantize by multiplier", 0): {"a value less"},
    ("dequantize", 0): {"a value less"},
    **{("layer_norm_quantize", place): {"double"} for place in (1, 2)},
    **{(name, 0): {"a list"} for name in ("layer_sqnr", "calibrate")},  # of several arguments
    ("prepare", 0): {"double"},
    **{("sqnr", place): {"double", "whole numbers"} for place in (0, 1)},
}
REFUSED = r"=.*; (it|they|its last axis|a tensor) must|Type-check"


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_checked_by_name(name: str, wrong: str) -> None:
    function, arguments = CALLS[name]
    function(*arguments)
    for position, right in enumerate(arguments):
        batched = position == 0 and name not in ("sqnr", "prepare")
        if wrong in TAKEN.get((name, position), ()) or (wrong == "an axis more" and batched):
            continue
        changed: list[object] = list(arguments)
        changed[position] = WRONG[wrong](right)
        with pytest.raises((ValueError, TypeError), match=REFUSED):
            function(*changed)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"sqnr", "dequantize", "prepare"}))
def test_a_further_axis_changes_no_value(name: str) -> None:
    function, (x, *more) = CALLS[name]
    one, other = function(x, *more), function(x[None], *more)
    for a, b in zip(values(one), values(other), strict=True):
        assert a.flatten().tolist() == b.flatten().tolist()


def values(result: object) -> list[Tensor]:
    if isinstance(result, QuantizedTensor):
        return [result.codes.float(), result.scale]
    if isinstance(result, Tensor):
        return [result]
    numbers = list(result.values()) if isinstance(result, dict) else [result]
    return [torch.tensor(numbers)]


def test_the_table_leaves_no_public_function_with_tensors_out() -> None:
    public = {
        name: value for name, value in vars(fp8_qat).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }  # fmt: skip
    with_tensors = {
        name
        for name, function in public.items()
        for parameter in inspect.signature(function).parameters.values()
        if "Tensor" in str(parameter.annotation) and "Callable" not in str(parameter.annotation)
    }
    assert with_tensors >= {"quantize", "dequantize", "sqnr", "gelu_quantize"}
    assert with_tensors <= {name.partition(" ")[0] for name in CALLS}
