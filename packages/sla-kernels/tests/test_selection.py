"""Which blocks are kept."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sla_kernels import BlockSelection, block_sparse_attention, select_blocks, sla_attention
from sla_kernels.select.ranks import kept_blocks, rank, top_k, top_p
from sla_kernels.select.scores import block_means

from .cases import qkv


def draw(n: int, m: int, h: int = 2, g: int = 2, d: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1, h, n, d), torch.randn(1, g, m, d)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 200), m=st.integers(1, 300), keep=st.floats(0.01, 1.0))
def test_lists_are_ascending_in_range_and_never_empty(n: int, m: int, keep: float) -> None:
    selection = select_blocks(*draw(n, m), keep=keep, block=(32, 16))
    assert selection.indices.dtype == selection.counts.dtype == torch.int32
    for row, count in zip(
        selection.indices.flatten(0, 2).tolist(), selection.counts.flatten().tolist(), strict=True
    ):
        assert count >= 1
        assert row[:count] == sorted(set(row[:count]))
        assert set(row[count:]) <= {-1}
        assert row[0] >= 0 and row[count - 1] < selection.key_blocks


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 200), m=st.integers(1, 300), kept=st.integers(1, 9))
def test_the_best_blocks_of_the_float64_means_are_kept(n: int, m: int, kept: int) -> None:
    q, k = draw(n, m)
    selection = select_blocks(q, k, keep=kept, block=(32, 16))
    for i in range(selection.query_blocks):
        rows = q[0, 0, i * 32 : (i + 1) * 32].double().mean(0)
        means = [k[0, 0, j : j + 16].double().mean(0) for j in range(0, m, 16)]
        scores = torch.stack([rows @ mean for mean in means])
        chosen = selection.block_mask()[0, 0, i]
        assert chosen.sum() == min(kept, len(means))
        if not chosen.all():
            assert scores[chosen].min() >= scores[~chosen].max() - 1e-6


@pytest.mark.parametrize(
    ("keep", "blocks", "kept"),
    [(0.25, 32, 8), (0.29, 100, 29), (0.01, 5, 1), (1.0, 7, 7), (3, 7, 3), (9, 7, 7), (0.3, 11, 3)],
)
def test_a_fraction_rounds_down_to_at_least_one(keep: float | int, blocks: int, kept: int) -> None:
    assert kept_blocks(keep, blocks) == kept


@pytest.mark.parametrize("keep", [1.0, 9])
@pytest.mark.parametrize("diagonal", [False, True])
def test_where_every_block_is_kept_none_is_scored(keep: float | int, diagonal: bool) -> None:
    q, k = draw(130, 130)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sla_kernels.select.op.ESTIMATORS", {})
        selection = select_blocks(q, k, keep=keep, block=(32, 16), keep_diagonal=diagonal)
    mask = torch.ones(1, 2, 5, 9, dtype=torch.bool)
    every = BlockSelection.from_mask(mask, block=(32, 16), num_queries=130, num_keys=130)
    assert torch.equal(selection.indices, every.indices)
    assert torch.equal(selection.counts, every.counts) and selection.density == 1


def test_of_equal_scores_the_first_block_wins() -> None:
    scores = torch.tensor([[[[1.0, 2.0, 1.0, 2.0, -1.0, 2.0, 0.0, -0.0]]]])
    assert top_k(scores, 2).tolist() == [[[[1, 3]]]]
    assert top_k(scores, 4).tolist() == [[[[0, 1, 3, 5]]]]
    assert rank(scores).argsort(-1, descending=True).flatten().tolist() == [1, 3, 5, 0, 2, 6, 7, 4]


def test_grouped_heads_score_their_own_keys() -> None:
    q, k = draw(100, 90, h=6, g=2)
    grouped = select_blocks(q, k, keep=2, block=(32, 16))
    spread = select_blocks(q, k.repeat_interleave(3, 1), keep=2, block=(32, 16))
    assert torch.equal(grouped.indices, spread.indices)


def test_strided_inputs_choose_the_same() -> None:
    q, k = torch.randn(2, 100, 3, 32), torch.randn(2, 90, 3, 32)
    strided = select_blocks(q.transpose(1, 2), k.transpose(1, 2), keep=2, block=(32, 16))
    plain = select_blocks(
        q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous(), keep=2, block=(32, 16)
    )
    assert torch.equal(strided.indices, plain.indices)


def test_block_means_of_a_short_tail() -> None:
    x = torch.randn(1, 1, 37, 4)
    means = block_means(x, 16)
    assert means.shape[2] == 3
    torch.testing.assert_close(means[:, :, 2], x[:, :, 32:].mean(2))


def test_top_p_keeps_the_share_and_no_more_than_keep() -> None:
    q, k = draw(96, 320)
    wide = select_blocks(10 * q, 10 * k, keep=1.0, top_p=0.9, block=(32, 16))
    capped = select_blocks(10 * q, 10 * k, keep=3, top_p=0.9, block=(32, 16))
    means_q, means_k = block_means(10 * q, 32), block_means(10 * k, 16)
    mass = (means_q @ means_k.mT * 32**-0.5).softmax(-1)
    kept = (mass * wide.block_mask()).sum(-1)
    without_least = kept - mass.masked_fill(~wide.block_mask(), torch.inf).amin(-1)
    assert (kept >= 0.9 - 1e-6).all() and (without_least < 0.9).all()
    assert (wide.counts >= 1).all() and wide.counts.max() > wide.counts.min()
    assert (capped.counts <= 3).all()
    assert not (capped.block_mask() & ~wide.block_mask()).any()


class Sums(TorchDispatchMode):
    """The types of what is added up step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.ops.aten.cumsum.default:
            self.types.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def test_top_p_adds_up_integers_of_which_every_order_gives_one_sum() -> None:
    """Of floating point PyTorch refuses such sums on CUDA where it must be deterministic."""
    scores, sizes = torch.randn(1, 2, 3, 500), torch.full((500,), 16)
    with Sums() as sums:
        kept = top_p(scores, sizes, 0.7)
    assert sums.types == [torch.int64]
    mass = scores.double().softmax(-1)
    best_first = mass.sort(-1, descending=True).values
    assert torch.equal(kept.sum(-1), ((best_first.cumsum(-1) - best_first) < 0.7).sum(-1))


@given(
    n=st.integers(1, 90),
    m=st.integers(1, 90),
    keep=st.floats(0.01, 1.0),
    share=st.floats(0.01, 0.99),
    estimator=st.sampled_from(["mean", "subblock_lse"]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_every_row_keeps_its_best_block_whatever_is_asked(
    n: int, m: int, keep: float, share: float, estimator: Any, seed: int
) -> None:
    torch.manual_seed(seed)
    q, k = draw(n, m)
    options = {"block": (32, 16), "estimator": estimator}
    made = select_blocks(q, k, keep=keep, top_p=share, **options)
    best = select_blocks(q, k, keep=1, **options)
    assert (made.counts >= 1).all()
    assert (made.block_mask() | ~best.block_mask()).all()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("estimator", ["mean", "subblock_lse"])
def test_rows_with_a_broken_token_keep_a_block_too(estimator: str, broken: float) -> None:
    q, k = draw(64, 64)
    q[0, 0, 3, 5] = k[0, 1, 20, 7] = broken
    selection = select_blocks(q, k, keep=0.5, top_p=0.9, block=(16, 16), estimator=estimator)
    assert (selection.counts >= 1).all()
    assert torch.equal(selection.counts, (selection.indices >= 0).sum(-1))
    assert block_sparse_attention(q, k, k, selection).shape == q.shape


def test_the_diagonal_is_kept_where_asked_for() -> None:
    q = torch.randn(1, 1, 200, 32)
    selection = select_blocks(q, -q, keep=1, block=(32, 16), keep_diagonal=True)
    mask = selection.token_mask()[0, 0]
    assert mask.diagonal().all()


def test_negligible_blocks_are_the_worst_and_not_kept() -> None:
    q, k = draw(64, 320)
    selection = select_blocks(q, k, keep=0.5, negligible=0.25, block=(32, 16))
    scores = block_means(q, 32) @ block_means(k, 16).mT
    worst = scores.topk(5, largest=False).indices.sort(-1).values
    assert torch.equal(selection.negligible.long(), worst)
    everything = select_blocks(q, k, keep=1.0, negligible=0.25, block=(32, 16))
    assert (everything.negligible == -1).all()


def test_pinned_tokens_are_neither_scored_nor_listed() -> None:
    pinned = torch.tensor([70, 0, 33])
    free = torch.tensor([i for i in range(100) if i not in (0, 33, 70)])
    q, k = draw(100, 100)
    found = select_blocks(q, k, keep=2, block=(32, 16), pinned=pinned)
    alone = select_blocks(q[:, :, free], k[:, :, free], keep=2, block=(32, 16))
    assert torch.equal(found.indices, alone.indices)
    assert torch.equal(found.pinned, pinned)
    none = select_blocks(q, k, keep=2, block=(32, 16), pinned=pinned[:0])
    assert none.pinned is None


@pytest.mark.parametrize(
    ("keep", "top_p", "all_kept"),
    [(1.0, 1.0, True), (1, 1.0, False), (0.5, 1.0, False), (1.0, 0.9, False)],
)
def test_only_the_fraction_one_says_that_all_is_kept(
    keep: float | int, top_p: float, all_kept: bool
) -> None:
    selection = select_blocks(*draw(64, 64), keep=keep, top_p=top_p, block=(32, 16))
    assert selection.keeps_all is all_kept


def test_subblocks_find_a_single_loud_key() -> None:
    q = torch.ones(1, 1, 64, 32)
    k = -0.5 * torch.rand(1, 1, 256, 32)
    k[:, :, 40:44] = 4.0
    k[:, :, 32:40] = k[:, :, 44:48] = -4.0
    assert select_blocks(q, k, keep=1, block=(64, 16)).indices.unique().tolist() != [2]
    found = select_blocks(q, k, keep=1, block=(64, 16), estimator="subblock_lse")
    assert found.indices.unique().tolist() == [2]


def test_masks_and_lists_tell_the_same() -> None:
    mask = torch.rand(2, 3, 4, 9) < 0.3
    mask[..., 5] = True
    made = BlockSelection.from_mask(mask, block=(32, 16), num_queries=100, num_keys=140)
    assert torch.equal(made.block_mask(), mask)
    tokens = made.token_mask()
    for i, j in ((0, 0), (31, 15), (32, 16), (99, 139), (64, 80)):
        assert torch.equal(tokens[:, :, i, j], mask[:, :, i // 32, j // 16])
    assert made.density == pytest.approx(float(tokens.double().mean()))


@pytest.mark.parametrize("scope", ["all", "complement", None])
@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_a_mask_with_an_empty_tensor_of_pinned_tokens_pins_none(
    backend: str, scope: str | None
) -> None:
    found, settings = [], {"block": (16, 16), "num_queries": 100, "num_keys": 100}
    leaves = [x.requires_grad_() for x in qkv(100, 100)]
    mask = torch.rand(1, 2, 7, 7) < 0.5
    mask[..., 2] = True
    for pinned in (None, torch.empty(0, dtype=torch.int64)):
        chosen = BlockSelection.from_mask(mask, pinned=pinned, **settings)
        out = sla_attention(*leaves, selection=chosen, linear=scope, backend=backend)
        grads = torch.autograd.grad(out.sum(), leaves)
        found.append([out, *grads, chosen.token_mask(), chosen.keys_of(torch.arange(3))])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
