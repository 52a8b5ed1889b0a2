"""One order, whoever makes it: PyTorch's operations, passes on a CPU, kernels of a GPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sla_kernels.order.launch import halved_order
from sla_kernels.order.median import median_order

from ..cases import LAYOUTS

SIZES = (4, 64)


def by_passes(features: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """By Numba."""
    calls = pytest.importorskip("sla_kernels.passes.calls", reason="needs Numba")
    found: Tensor = calls.halved(features, sizes)
    return found


def by_kernels(features: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """By Triton's interpreter."""
    if torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a GPU")
    return halved_order(features, sizes)


def drawn(seed: int, axes: int = 5) -> Tensor:
    """Features of a scene."""
    return torch.randn(1, 150, axes, generator=torch.Generator().manual_seed(seed))


each = pytest.mark.parametrize("make", [by_passes, by_kernels])


@each
@pytest.mark.parametrize(("middle", "apart"), [(1000, 1e-3), (10, 1e-5), (1e6, 1)])
@pytest.mark.parametrize("axes", [5, 16])
def test_nearly_equal_tokens(
    make: Callable[..., Tensor], middle: float, apart: float, axes: int
) -> None:
    features = middle + apart * drawn(0, axes)
    assert torch.equal(make(features, SIZES), median_order(features, SIZES))


@each
@pytest.mark.parametrize("size", [1e30, 1e19, 1e-15, 1e-19, 1e-22, 1e-23, 1e-41])
def test_numbers_of_any_size(make: Callable[..., Tensor], size: float) -> None:
    features = size * drawn(1)
    assert torch.equal(make(features, SIZES), median_order(features, SIZES))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_tokens_wherever_their_features_lie(layout: str) -> None:
    features = (3 * drawn(2) + 1)[:, torch.arange(150) * 7 % 40]
    found = median_order(LAYOUTS[layout](features), SIZES)
    assert torch.equal(found, median_order(features, SIZES))


@each
def test_numbers_whose_difference_overflows(make: Callable[..., Tensor]) -> None:
    features = drawn(3).clamp(-1, 1) * torch.finfo(torch.float32).max
    assert torch.equal(make(features, SIZES), median_order(features, SIZES))
