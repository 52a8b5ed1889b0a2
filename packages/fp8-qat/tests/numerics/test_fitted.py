import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fp8_qat import Spec, dequantize, quantize
from fp8_qat.numerics.fitted import quantize_fitted

SPECS = [
    Spec(),
    Spec(granularity="tensor"),
    Spec(granularity=(8, 8), rule="reciprocal_pow2"),
    Spec(granularity=(1, 32), rule="mx_floor"),
    Spec(format="e5m2"),
]


def inputs(k: int, chance: torch.Generator) -> Tensor:
    """Inputs that depend on each other, as those of networks do: of few causes."""
    causes = torch.randn(4, k, generator=torch.Generator().manual_seed(9))
    few = torch.randn(400, 4, generator=chance) @ causes
    return few + 0.1 * torch.randn(400, k, generator=chance)


def wrong(weight: Tensor, made: Tensor, x: Tensor) -> Tensor:
    """By row, the mean square of what is answered wrong."""
    return ((made - weight).double() @ x.double().T).square().mean(1)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_answers_are_several_times_nearer_where_inputs_depend_on_each_other(spec: Spec) -> None:
    chance = torch.Generator().manual_seed(0)
    weight, x = torch.randn(24, 150, generator=chance), inputs(150, chance)
    nearest = dequantize(quantize(weight, spec))
    fitted = dequantize(quantize_fitted(weight, spec, x.T @ x / len(x)))
    assert wrong(weight, fitted, x).mean() < 0.3 * wrong(weight, nearest, x).mean()
    new = inputs(150, chance)
    assert wrong(weight, fitted, new).mean() < 0.3 * wrong(weight, nearest, new).mean()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 9), k=st.integers(1, 140), seed=st.integers(0, 99), spec=st.sampled_from(SPECS)
)
def test_no_row_answers_worse_than_the_nearest_codes(n: int, k: int, seed: int, spec: Spec) -> None:
    chance = torch.Generator().manual_seed(seed)
    weight, x = torch.randn(n, k, generator=chance), inputs(k, chance)
    nearest, fitted = quantize(weight, spec), quantize_fitted(weight, spec, x.T @ x)
    worst = wrong(weight, dequantize(nearest), x)
    assert (wrong(weight, dequantize(fitted), x) <= worst * (1 + 1e-4) + 1e-12).all()
    assert torch.equal(fitted.scale, nearest.scale)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_values_that_were_fitted_quantize_to_themselves(spec: Spec) -> None:
    chance = torch.Generator().manual_seed(1)
    weight, x = torch.randn(16, 96, generator=chance), inputs(96, chance)
    fitted = quantize_fitted(weight, spec, x.T @ x)
    again = quantize(dequantize(fitted), spec)
    assert torch.equal(dequantize(again), dequantize(fitted))
    once_more = quantize_fitted(dequantize(fitted), spec, x.T @ x)
    assert torch.equal(dequantize(once_more), dequantize(fitted))


def test_codes_lie_row_by_row_as_products_on_a_gpu_want_them() -> None:
    chance = torch.Generator().manual_seed(0)
    found = quantize_fitted(torch.randn(24, 40, generator=chance), Spec(), torch.eye(40))
    assert found.codes.is_contiguous()


def test_inputs_that_do_not_depend_on_each_other_leave_the_nearest_codes() -> None:
    weight = torch.randn(8, 70)
    fitted = quantize_fitted(weight, Spec(), torch.eye(70))
    assert torch.equal(fitted.bytes, quantize(weight, Spec()).bytes)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_not_finite_is_rounded_to_the_nearest(broken: float) -> None:
    weight, moments = torch.randn(4, 20), torch.eye(20)
    moments[3, 3] = broken
    found = quantize_fitted(weight, Spec(), moments)
    assert torch.equal(found.bytes, quantize(weight, Spec()).bytes)


def test_an_input_that_is_always_zero_and_rows_of_zeros_disturb_nothing() -> None:
    chance = torch.Generator().manual_seed(2)
    weight, x = torch.randn(8, 40, generator=chance), inputs(40, chance)
    x[:, 7] = 0
    weight[3] = 0
    found = dequantize(quantize_fitted(weight, Spec(), x.T @ x))
    assert bool(found.isfinite().all()) and (found[3] == 0).all()
    assert torch.equal(found[:, 7], dequantize(quantize(weight, Spec()))[:, 7])


def test_moments_of_another_layer_and_what_are_none_are_refused() -> None:
    weight = torch.randn(4, 20)
    with pytest.raises(ValueError, match=r"moments=.* of shape \(3, 3\) .* shape \(20, 20\)"):
        quantize_fitted(weight, Spec(), torch.eye(3))
    with pytest.raises(ValueError, match="negative eigenvalue"):
        quantize_fitted(weight, Spec(), torch.eye(20) - 0.5)
