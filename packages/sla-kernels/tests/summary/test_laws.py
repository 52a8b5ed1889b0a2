"""Few exact blocks and summaries for the rest: laws, and the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sla_kernels import sla_attention
from sla_kernels.summary.rows import rows_of
from sla_kernels.summary.weights import weights_of

from .selections import SIZES, by_definition, by_operator, dense, draw, few, select


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(2, 150),
    pinned=st.integers(0, 4),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(["content", "sequence"]),
    groups=st.sampled_from([1, 2]),
    block=st.sampled_from([1, 16, 40]),
    seed=st.integers(0, 99),
)
def test_keeping_every_block_is_dense_attention_whatever_the_order(
    tokens: int, pinned: int, sizes: tuple[int, ...], order: str, groups: int, block: int, seed: int
) -> None:
    q, k, v = draw(tokens, tokens, groups=groups, seed=seed)
    outside = torch.randperm(tokens)[: min(pinned, tokens - 1)]
    selection = few(q, k, v, keep=1.0, summary=sizes, order=order, pinned=outside, block=(block, 1))
    assert selection.keeps_all
    assert selection.density == pytest.approx(1)
    assert selection.token_mask().all()
    for backend in ("eager", "reference"):
        out = sla_attention(q, k, v, selection=selection, linear=None, backend=backend)
        torch.testing.assert_close(out, dense(q, k, v), rtol=1e-10, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(2, 120), keep=st.integers(1, 9), seed=st.integers(0, 99),
    opened=st.integers(1, 9), more=st.sampled_from([(), (8,), (4, 16)]),
)  # fmt: skip
def test_cells_of_one_token_are_dense_attention_at_any_keep(
    tokens: int, keep: int, seed: int, opened: int, more: tuple[int, ...]
) -> None:
    q, k, v = draw(tokens, tokens, seed=seed)
    opened = max(opened, tokens) if more else opened  # whatever is not opened is a mean
    selection = few(q, k, v, keep=keep, summary=(1, *more), opened=opened)
    out = sla_attention(q, k, v, selection=selection, linear=None)
    torch.testing.assert_close(out, dense(q, k, v), rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(2, 300), pinned=st.integers(0, 3), keep=st.integers(1, 6),
    opened=st.integers(1, 6), sizes=st.sampled_from(SIZES), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_token_is_counted_exactly_once_by_every_query(
    tokens: int, pinned: int, keep: int, opened: int, sizes: tuple[int, ...], seed: int
) -> None:
    q, k, v = draw(tokens, tokens, seed=seed)
    outside = torch.randperm(tokens)[: min(pinned, tokens - 1)]
    chosen = few(q, k, v, keep=keep, summary=sizes, opened=opened, pinned=outside)
    layout = chosen.layout
    holds = torch.zeros(layout.rows, tokens)
    for place, position in enumerate(chosen.order[0].tolist()):
        holds[place, position] += 1
        for level, size in enumerate(layout.sizes):
            holds[layout.first(level) + place // size, position] += 1
    for i, position in enumerate(outside.tolist()):
        holds[layout.first(len(layout.sizes)) + i, position] += 1
    counted = holds[chosen.rows.long()].sum(3)
    assert torch.equal(counted, torch.ones_like(counted))


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(2, 130), keys=st.integers(2, 130), pinned=st.integers(0, 3),
    sizes=st.sampled_from(SIZES), groups=st.sampled_from([1, 2]), seed=st.integers(0, 99),
)  # fmt: skip
def test_values_and_gradients_equal_the_reference(
    tokens: int, keys: int, pinned: int, sizes: tuple[int, ...], groups: int, seed: int
) -> None:
    keys = tokens if pinned else keys
    leaves = [x.requires_grad_() for x in draw(tokens, keys, groups=groups, batch=2, seed=seed)]
    outside = torch.randperm(tokens)[: min(pinned, tokens - 1)] if pinned else None
    selection = few(*leaves, keep=2, summary=sizes, pinned=outside)
    target = torch.randn(leaves[0].shape, dtype=torch.float64)
    found = [
        torch.autograd.grad((run(*leaves, selection) * target).sum(), leaves)
        for run in (by_operator, by_definition)
    ]
    torch.testing.assert_close(by_operator(*leaves, selection), by_definition(*leaves, selection))
    for name, one, other in zip("qkv", *found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8, msg=lambda m, n=name: n + m)


def test_a_permutation_of_the_tokens_permutes_the_output_alone() -> None:
    q, k, v = draw(200, 200)
    moved = torch.randperm(200)
    outside = torch.tensor([3, 50])
    axes = torch.linalg.qr(torch.randn(16, 4, dtype=torch.float64)).Q
    one, other = (
        select(q[:, :, p], k[:, :, p], v[:, :, p], axes=axes, pinned=pinned)
        for p, pinned in (
            (torch.arange(200), outside),
            (moved, moved.argsort()[outside]),
        )
    )
    expected = by_operator(q, k, v, one)[:, :, moved]
    found = by_operator(q[:, :, moved], k[:, :, moved], v[:, :, moved], other)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_identical_tokens_are_summarized_without_loss() -> None:
    q, k, v = draw(40, 40)
    k, v = (x.repeat_interleave(8, 2) for x in (k, v))
    q = q.repeat_interleave(8, 2)
    selection = few(q, k, v, keep=1, summary=(4, 8), opened=2)
    torch.testing.assert_close(by_operator(q, k, v, selection), dense(q, k, v))


def test_a_cell_never_claims_more_mass_than_its_tokens_have() -> None:
    q, k, v = draw(128, 128)
    selection = few(q, k, v, keep=1, summary=(8, 32), opened=1)
    layout = selection.layout
    weights = weights_of(selection.tilt, layout)
    rows = rows_of(k, v, selection.order, selection.outside, weights, layout)
    scores = torch.einsum("bhnd,bhmd->bhnm", q, rows.keys) + rows.bias[:, :, None]
    tokens = scores[..., : layout.tokens]
    for level, size in enumerate(layout.sizes):
        cells = scores[..., layout.first(level) : layout.first(level + 1)]
        assert (cells <= tokens.unflatten(-1, (-1, size)).logsumexp(-1) + 1e-12).all()


def test_summaries_bring_the_output_nearer_to_dense_attention() -> None:
    q, k, v = draw(512, 512)
    error = {
        summary: float(
            (by_operator(q, k, v, few(q, k, v, summary=summary)) - dense(q, k, v)).norm()
        )
        for summary in (None, (4, 16))
    }
    assert error[(4, 16)] < 0.7 * error[None]
