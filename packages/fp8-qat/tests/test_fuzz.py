"""Whatever quantization is given: values within the format, or one sentence."""

import re
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fp8_qat import (
    Recipe,
    Spec,
    convert,
    dequantize,
    fake_quantize,
    prepare,
    quantize,
    quantize_activation,
    recipes,
)

LIMITED = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
SENTENCE = re.compile(r"\w+.*[;:].*", re.S)
NUMBERS = st.sampled_from([1, 2, 0, -1, 1.5, float("nan"), None, True, 2**40])
RULES = ("divide", "multiply", "multiply_pow2", "reciprocal", "double_pow2", "mx_rceil", "mx_floor")
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(["e4m3", "e5m2", "e3m4"]),
        "granularity": st.one_of(
            st.sampled_from(["tensor", "row", "column", (1, 32), (16, 16), (3, 5), (2,), 7, None]),
            st.tuples(NUMBERS, NUMBERS),
        ),
        "rule": st.sampled_from(RULES),
        "mode": st.sampled_from(["dynamic", "dynamic", "dynamic", "static", "delayed", "no"]),
        "history": NUMBERS,
        "margin": NUMBERS,
    },
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 17, 40]), max_size=4))
    dtypes = [
        torch.float32,
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.float64,
        torch.int8,
    ]
    x = torch.randn(shape) * draw(st.sampled_from([1.0, 1e-30, 1e30, 1e-45]))
    if x.numel():
        part = x.flatten()[draw(st.integers(0, x.numel() - 1)) :]
        part.copy_(draw(st.sampled_from([part, 0 * part, part / 0, part * torch.nan])))
    return x.to(draw(st.sampled_from(dtypes)))


def answered(function: Any, *arguments: Any, **options: Any) -> Any:
    """What a call returns, or None where it refuses in a sentence."""
    try:
        return function(*arguments, **options)
    except (ValueError, TypeError) as error:
        assert SENTENCE.match(str(error)) or "Type-check" in str(error), error
        return None


@LIMITED
@given(words=SPECS, x=tensors())
def test_a_tensor_is_quantized_or_refused(words: dict[str, Any], x: Tensor) -> None:
    spec = answered(Spec, **words)
    if spec is None:
        return
    made = answered(quantize, x, spec)
    faked = answered(fake_quantize, x, spec)
    assert (made is None) == (faked is None)
    if made is not None:
        back = dequantize(made, x.dtype)
        assert back.shape == x.shape and back.dtype == x.dtype
        assert torch.equal(back.nan_to_num(), faked.nan_to_num())
        whole = x.isfinite().all() and back.isfinite().all()
        assert not whole or float(back.abs().max() if x.numel() else 0) <= 2 * float(
            x.abs().max() if x.numel() else 0
        )


@LIMITED
@given(words=SPECS, x=tensors())
def test_an_activation_is_quantized_or_refused(words: dict[str, Any], x: Tensor) -> None:
    spec = answered(Spec, **words)
    made = None if spec is None else answered(quantize_activation, x, spec)
    assert made is None or made.codes.shape == x.shape


@LIMITED
@given(
    words=SPECS,
    name=st.sampled_from([*recipes.names(), "none"]),
    sizes=st.tuples(*[st.sampled_from([0, 1, 16, 17])] * 2),
    x=tensors(),
    backend=st.sampled_from(["reference", "weight_only", "auto", "fast"]),
)
def test_a_model_is_prepared_and_converted_or_refused(
    words: dict[str, Any], name: str, sizes: tuple[int, int], x: Tensor, backend: str
) -> None:
    spec = answered(Spec, **words)
    recipe = answered(recipes.by_name, name)
    if spec is not None and words:
        recipe = answered(Recipe, name="any", weight=spec, activation=spec)
    if recipe is None:
        return
    model = nn.Sequential(nn.Linear(*sizes))
    if answered(prepare, model, recipe) is not None:
        answered(convert, model, backend=backend)
        if x.ndim and x.shape[-1] == sizes[0] and x.dtype == torch.float32:
            out = answered(model, x)
            assert out is None or out.shape == (*x.shape[:-1], sizes[1])
