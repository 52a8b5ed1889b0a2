"""Orders: permutations in which neighbors are alike, the same on every run."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sla_kernels import order_tokens, principal_axes
from sla_kernels.order.median import STEEP, TURNS
from sla_kernels.order.plan import cuts
from sla_kernels.order.tokens import check_features, check_given


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(1, 300),
    sizes=st.sampled_from([(1,), (8,), (4, 64), (4, 64, 512), (3, 12, 24)]),
    seed=st.integers(0, 9),
)
def test_an_order_is_a_permutation_and_restoring_undoes_it(
    tokens: int, sizes: tuple[int, ...], seed: int
) -> None:
    x = torch.randn(2, tokens, 9, generator=torch.Generator().manual_seed(seed))
    order = order_tokens(x, sizes, axes=3)
    assert torch.equal(order.positions.sort(1).values, torch.arange(tokens).expand(2, -1))
    assert torch.equal(order.restore(order.arrange(x)), x)
    assert torch.equal(order.positions, order_tokens(x, sizes, axes=3).positions)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 5000), sizes=st.sampled_from([(7,), (4, 64), (4, 64, 512), (3, 12, 24)])
)
def test_cuts_split_at_whole_cells_of_every_size(tokens: int, sizes: tuple[int, ...]) -> None:
    cut_at: set[int] = set()
    for cut in cuts(tokens, sizes, torch.device("cpu")):
        inside = torch.ones_like(cut.places, dtype=torch.bool) if cut.inside is None else cut.inside
        assert torch.equal(cut.places[inside].sort().values, torch.arange(tokens))
        cut_at |= set(cut.places[:, 0].tolist())
    assert all(place % sizes[0] == 0 for place in cut_at)
    last = cuts(tokens, sizes, torch.device("cpu"))
    if last:
        assert len(cut_at) >= -(-tokens // sizes[0]) / 2


def direction(x: torch.Tensor) -> torch.Tensor:
    """The widest axis, turned by steps of the power method in which tokens far out count as one."""
    x = x - x.mean(0)
    variance = x.var(0, unbiased=False)
    found, scale = torch.eye(x.shape[1], dtype=x.dtype)[variance.argmax()], variance.max().sqrt()
    for _ in range(TURNS):
        along = x @ found
        if along.any():
            turned = x.T @ (STEEP * along / scale).clamp(-1, 1)
            found, scale = turned / turned.norm(), along.abs().mean()
    return found


def written_out(features: torch.Tensor, sizes: tuple[int, ...]) -> list[int]:
    """The order, segment by segment: sorted along its direction, then halved in whole cells."""
    segments = [list(range(len(features)))]
    for size in reversed(sizes):
        while max(map(len, segments)) > size:
            parts = []
            for segment in segments:
                along = (features @ direction(features[segment])).tolist()
                ordered = sorted(segment, key=along.__getitem__)
                half = (math.ceil(len(segment) / size) + 1) // 2 * size
                parts += [part for part in (ordered[:half], ordered[half:]) if part]
            segments = parts
    return [token for segment in segments for token in segment]


@pytest.mark.parametrize("sizes", [(1,), (7,), (4, 64), (3, 12, 24)])
@pytest.mark.parametrize("tokens", [1, 5, 64, 130, 301])
def test_an_order_is_the_one_that_the_words_describe(tokens: int, sizes: tuple[int, ...]) -> None:
    x = (torch.randn(2, tokens, 3) * torch.tensor([1.0, 1.1, 0.9]) + 5).double()
    positions = order_tokens(x, sizes, axes=torch.eye(3).double()).positions
    assert positions.tolist() == [written_out(scene, sizes) for scene in x]


def test_segments_are_cut_along_the_direction_in_which_they_differ() -> None:
    place = torch.arange(64.0)
    aside = 8 * (-1) ** place  # across the diagonal
    x = torch.stack([place + aside, place - aside], 1)[torch.randperm(64)]
    order = order_tokens(x[None], (32,), axes=torch.eye(2)).positions[0]
    assert torch.equal(x[order[:32]].mean(1).sort().values, torch.arange(32.0))


def test_segments_are_cut_between_their_groups_though_few_tokens_lie_far_out() -> None:
    """The line of most variance runs to the two that lie far out, across the groups."""
    groups = torch.tensor([-1.0, 1.0]).repeat_interleave(31)[:, None]
    near = torch.cat([groups, torch.zeros(62, 1)], 1) + 0.1 * torch.randn(62, 2)
    x = torch.cat([near, torch.tensor([[-0.9, 6.0], [0.9, -6.0]])])[torch.randperm(64)]
    assert direction(x.double())[0].abs() > 0.9
    order = order_tokens(x[None], (32,), axes=torch.eye(2)).positions[0]
    assert x[order[:32], 0].sign().unique().numel() == 1


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(2, 200), axes=st.integers(1, 9), seed=st.integers(0, 99))
def test_equal_tokens_stay_together_and_keep_their_order(tokens: int, axes: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    which = torch.randint(0, max(1, tokens // 3), (tokens,), generator=chance)
    x = torch.randn(tokens, axes, generator=chance)[which][None]
    order = order_tokens(x, (1,), axes=torch.eye(axes)).positions[0]
    for token in which.unique():
        places = (which[order] == token).nonzero()[:, 0]
        assert torch.equal(order[places], order[places].sort().values)


def test_neighbors_are_alike_as_long_as_tokens_come_in_groups() -> None:
    centers = 10 * torch.randn(16, 6)
    group = torch.randint(0, 16, (1, 256)).sort().values % 16
    x = centers[group] + 0.01 * torch.randn(1, 256, 6)
    shuffled = torch.randperm(256)
    order = order_tokens(x[:, shuffled], 4, axes=4)
    runs = group[0, shuffled][order.positions[0]].reshape(-1, 4)
    assert (runs == runs[:, :1]).all(1).float().mean() > 0.6


def test_equal_tokens_keep_the_order_they_had() -> None:
    order = order_tokens(torch.ones(1, 37, 4), 4, axes=2)
    assert torch.equal(order.positions[0], torch.arange(37))


def test_each_scene_has_its_own_order() -> None:
    x = torch.randn(1, 50, 5)
    both = order_tokens(torch.cat([x, x.flip(1)]), 4, axes=principal_axes(x, 3)).positions
    assert not torch.equal(both[0], both[1])
    assert torch.equal(both[0], order_tokens(x, 4, axes=principal_axes(x, 3)).positions[0])


def test_principal_axes_are_orthonormal_and_ordered_by_variance() -> None:
    x = torch.randn(2, 200, 6, dtype=torch.float64) * torch.tensor([1, 5, 2, 4, 3, 0.5])
    axes = principal_axes(x, 4)
    torch.testing.assert_close(axes.T @ axes, torch.eye(4, dtype=torch.float64))
    variance = (x.flatten(0, 1) @ axes).var(0)
    assert torch.equal(variance.sort(descending=True).values, variance)
    assert principal_axes(x, 1).abs().argmax() == 1
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()
    torch.testing.assert_close(axes, principal_axes(x + 100, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"leaf": (4, 6)}, r"leaf=\(4, 6\); each must be"),
        ({"leaf": (8, 4)}, r"leaf=\(8, 4\); each must be"),
        ({"leaf": 0}, r"leaf=\(0,\); each must be"),
        ({"axes": 9}, "axes=9 with 5 features"),
    ],
)
def test_what_cannot_be_ordered_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order_tokens(torch.randn(1, 20, 5), **{"leaf": 4, **arguments})


def test_features_that_are_not_finite_are_refused() -> None:
    x = torch.randn(1, 20, 5)
    x[0, 3, 2] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        order_tokens(x, 4, axes=2)
    with pytest.raises(ValueError, match=r"x has shape \(20, 5\)"):
        check_features(torch.randn(20, 5))
    with pytest.raises(ValueError, match=r"axes has shape \(4, 2\)"):
        check_given(torch.randn(4, 2), 5)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_tokens_keep_their_order_along_any_number_of_axes(
    axes: int, dtype: torch.dtype
) -> None:
    for _ in range(20):
        for tokens in (17, 129):  # one more than processors take together
            kinds = torch.randint(5, (tokens,))
            x = torch.randn(5, 8, dtype=dtype)[kinds][None]
            places = order_tokens(x, 4, axes=axes).places()[0]
            assert all((places[kinds == kind].diff() > 0).all() for kind in range(5))
