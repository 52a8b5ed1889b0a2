"""The kernels of an order in Triton's interpreter, against PyTorch's operations."""

import pytest
import torch

from sla_kernels.order import launch
from sla_kernels.order.launch import features_of, fits, halved_order
from sla_kernels.order.median import median_order

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="the interpreter is for machines without a GPU"
)
CASES = [
    (1, 2, 1, (1,)),
    (2, 37, 3, (4, 16)),
    (1, 150, 5, (4, 16, 64)),
    (1, 90, 16, (4, 32)),
    (1, 333, 4, (64,)),
]


@pytest.mark.parametrize(("scenes", "tokens", "axes", "sizes"), CASES)
@pytest.mark.usefixtures("poisoned_empty")
def test_one_program_a_segment_gives_the_order_of_pytorch(
    scenes: int, tokens: int, axes: int, sizes: tuple[int, ...]
) -> None:
    features = torch.randn(scenes, tokens, axes)
    assert fits(features, sizes)
    assert torch.equal(halved_order(features, sizes), median_order(features, sizes))


@pytest.mark.parametrize(("scenes", "tokens", "axes", "sizes"), CASES)
@pytest.mark.usefixtures("poisoned_empty")
def test_segments_that_are_too_long_are_sorted_in_pieces(
    scenes: int, tokens: int, axes: int, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "MOST", 64)
    monkeypatch.setattr(launch, "BEGIN", (64, 16))
    monkeypatch.setattr(launch, "PIECE", launch.Tile(m=32, n=4, warps=4, stages=1))
    launch._plan.cache_clear()
    features = torch.randn(scenes, tokens, axes)
    found = halved_order(features, sizes)
    launch._plan.cache_clear()
    assert torch.equal(found, median_order(features, sizes))


def test_ties_keep_their_order_zeros_have_no_sign_and_nan_confuses_nobody() -> None:
    # whole tokens alike: others that a direction makes alike differ by rounding
    features = torch.randn(30, 3).round(decimals=1)[torch.randint(0, 30, (2, 128))]
    features[features == 0] *= torch.where(torch.rand(int((features == 0).sum())) < 0.5, -1.0, 1.0)
    assert torch.equal(halved_order(features, (4, 64)), median_order(features, (4, 64)))
    single = torch.randn(1, 200, 1)
    single[0, ::7] = torch.nan
    single[0, 1] = torch.inf
    found = halved_order(single, (4, 256))
    assert torch.equal(found, median_order(single, (4, 256)))
    assert torch.equal(found.sort().values, torch.arange(200)[None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_are_keys_of_all_heads_along_the_axes(dtype: torch.dtype) -> None:
    k = torch.randn(2, 150, 3, 24).to(dtype).transpose(1, 2)
    directions = torch.randn(72, 5).to(dtype)
    expected = k.transpose(1, 2).flatten(2).double() @ directions.double()
    torch.testing.assert_close(features_of(k, directions).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_token_that_is_not_finite_has_no_features() -> None:
    k = torch.randn(1, 2, 40, 32)
    k[0, 1, 7, 3] = torch.nan
    found = features_of(k, torch.randn(64, 4))
    assert (found[0, 7] == 0).all() and bool(torch.isfinite(found).all())


def test_sizes_that_are_no_powers_of_two_are_left_to_pytorch() -> None:
    features = torch.randn(1, 50, 4)
    assert not fits(features, (3, 12)) and not fits(features.double(), (4,))
