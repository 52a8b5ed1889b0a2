"""Laws of quantization."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fp8_qat import QuantizedTensor, Spec, dequantize, fake_quantize, quantize, sqnr
from fp8_qat.numerics.scales import scale_of

RULES = ["divide", "multiply", "multiply_pow2", "reciprocal", "reciprocal_pow2"]
RULES += ["double", "double_pow2", "mx_rceil", "mx_floor"]
GRANULARITIES = ["tensor", "row", (1, 32), (1, 128), (128, 128), (3, 5)]
specs = st.builds(
    Spec,
    format=st.sampled_from(["e4m3", "e5m2"]),
    granularity=st.sampled_from(GRANULARITIES),
    rule=st.sampled_from(RULES),
)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 60), st.integers(1, 300))
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * torch.randn(shape[-1:], generator=generator).exp()
    x[..., 0, :] *= 0.0
    return x.to(dtype)


@settings(max_examples=60, deadline=None)
@given(specs, shapes, dtypes, st.integers(0, 2**31))
def test_fake_quantization_is_real_quantization_multiplied_back(spec, shape, dtype, seed) -> None:
    x = draw(shape, dtype, seed)
    assert torch.equal(fake_quantize(x, spec), dequantize(quantize(x, spec), dtype))


@settings(max_examples=40, deadline=None)
@given(specs, shapes, st.integers(0, 2**31))
def test_quantization_is_odd(spec, shape, seed) -> None:
    x = draw(shape, torch.float32, seed)
    assert torch.equal(fake_quantize(-x, spec), -fake_quantize(x, spec))


@settings(max_examples=40, deadline=None)
@given(specs, shapes, st.integers(0, 2**31))
def test_codes_stay_when_their_values_are_quantized_with_the_same_scale(spec, shape, seed) -> None:
    x = draw(shape, torch.float32, seed)
    once = quantize(x, spec)
    scale = scale_of(once.scale * spec.fp8.max, spec.rule, spec.fp8, x.dtype)
    if torch.equal(scale.scale, once.scale):  # where the rule finds its own scale again
        twice = quantize(dequantize(once), spec, scale=scale)
        assert torch.equal(dequantize(twice), dequantize(once))


@settings(max_examples=40, deadline=None)
@given(specs, shapes, st.integers(0, 2**31))
def test_error_is_at_most_half_a_step(spec, shape, seed) -> None:
    x = draw(shape, torch.float32, seed)
    quantized = quantize(x, spec)
    back = dequantize(quantized)
    ones = torch.ones(x.shape).to(spec.fp8.dtype)
    scale = dequantize(QuantizedTensor(codes=ones, scale=quantized.scale, spec=spec))
    inside = x.abs() <= spec.fp8.max * scale
    smallest = 2.0 ** (spec.fp8.min_exponent - spec.fp8.mantissa_bits)
    half = (x.abs() * 2.0 ** -(spec.fp8.mantissa_bits + 1)).maximum(scale * smallest / 2)
    assert ((x - back).abs() <= half * (1 + 1e-5))[inside].all()


def test_representable_values_are_exact() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    values = codes.float()
    values = values[torch.isfinite(values)].expand(4, -1)
    for granularity in ("tensor", "row"):
        assert torch.equal(fake_quantize(values, Spec(granularity=granularity)), values)


def test_gaussian_noise_ratio_of_e4m3() -> None:
    x = torch.randn(512, 1024)
    assert 30 < sqnr(x, fake_quantize(x, Spec())) < 33
    assert 29 < sqnr(x, fake_quantize(x, Spec(granularity=(1, 32), rule="mx_floor"))) < 33


def test_zero_rows_and_infinities_do_not_spread() -> None:
    x = torch.randn(4, 64)
    x[1], x[2, 3] = 0.0, torch.inf
    for rule in RULES:
        back = fake_quantize(x, Spec(rule=rule))
        assert torch.isfinite(back[[0, 1, 3]]).all(), rule
        assert (back[1] == 0).all(), rule
    assert fake_quantize(x, Spec(rule="multiply"))[2, 3] == 448.0  # saturated, as published
    assert fake_quantize(x, Spec())[2].isnan().any()  # seen at once


def test_rows_too_small_for_a_scale_become_zero_and_not_nan() -> None:
    x = torch.tensor([[1e-45, 0.0], [3e-44, -1e-45]])
    for rule in RULES:
        assert torch.isfinite(fake_quantize(x, Spec(rule=rule))).all(), rule


def test_tails_are_blocks_of_their_own() -> None:
    x = torch.randn(130, 200)
    spec = Spec(granularity=(128, 128), rule="multiply")
    quantized = quantize(x, spec)
    assert quantized.scale.shape == (2, 2)
    corner = quantize(x[128:, 128:], Spec(granularity="tensor", rule="multiply"))
    assert torch.equal(corner.codes.float(), quantized.codes[128:, 128:].float())
    assert corner.scale.item() == quantized.scale[1, 1].item()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_large_tensors_taken_in_parts_are_the_same(granularity) -> None:
    x = torch.randn(701, 515)  # more values than either part size
    for spec in (Spec(granularity=granularity), Spec(granularity=granularity, rule="multiply")):
        quantized = quantize(x, spec)
        back = fake_quantize(x, spec)
        assert torch.equal(back, dequantize(quantized))
        rows = fake_quantize(x[:3], spec)
        if granularity == "row":
            assert torch.equal(rows, back[:3])


def test_empty_batches_pass() -> None:
    for granularity in GRANULARITIES:
        assert fake_quantize(torch.empty(2, 0, 64), Spec(granularity=granularity)).shape == (
            2,
            0,
            64,
        )


@pytest.mark.parametrize("bad", [torch.zeros(3, dtype=torch.int32), torch.zeros(3).double()])
def test_other_dtypes_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(Exception, match=r"cannot be quantized|type"):
        quantize(bad, Spec())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "e3m4"}, "choose one of e4m3, e5m2"),
        ({"granularity": (0, 128)}, "both at least 1"),
        ({"rule": "best"}, "choose one of divide"),
        ({"mode": "static", "granularity": "row"}, "it must be 'tensor' for mode 'static'"),
        ({"mode": "delayed", "granularity": "tensor"}, "it must be 'multiply' for mode 'delayed'"),
        ({"history": 0}, "history=0; it must be a whole number of at least 1"),
    ],
)
def test_a_spec_outside_the_rules_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Spec(**wrong)


def test_a_block_that_is_no_tuple_is_refused_where_it_is_named() -> None:
    """The second pattern is that of a signature that is checked while tests run."""
    with pytest.raises(
        (ValueError, TypeError), match=r"=\[1, 128\]; it must be a tuple|Type-check"
    ):
        Spec(granularity=[1, 128])  # type: ignore[arg-type]
