"""The sparse branch against its definition in float64."""

import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sla_kernels import BlockSelection, block_sparse_attention, select_blocks
from sla_kernels.sparse.reference import sparse_attention_reference

from .cases import LAYOUTS, errors, qkv, random_selection, value_and_gradients

FLOAT32 = 1e-6  # norm of the difference over the norm, against float64
LENGTHS = [1, 63, 64, 65, 127, 500, 1374]


def exact(selection: BlockSelection, leaves: list[torch.Tensor], grad: torch.Tensor) -> list:
    mask = selection.token_mask()
    return value_and_gradients(
        lambda q, k, v: sparse_attention_reference(q, k, v, mask, q.shape[3] ** -0.5)[0],
        [leaf.double() for leaf in leaves],
        grad.double(),
    )


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("block", [(64, 64), (128, 64), (32, 16)])
def test_float32_values_and_gradients(n: int, block: tuple[int, int]) -> None:
    leaves, grad = qkv(n, n), torch.randn(1, 2, n, 32)
    selection = random_selection(2, n, n, block)
    found = value_and_gradients(
        lambda q, k, v: block_sparse_attention(q, k, v, selection), leaves, grad
    )
    assert max(errors(found, exact(selection, leaves, grad))) < FLOAT32


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("keep", [0.5, 1.0, 4])
@pytest.mark.parametrize("n", [64, 60])
def test_numbers_of_a_token_may_lie_apart(
    n: int, keep: float | int, heads: int, layout: str
) -> None:
    leaves, grad = qkv(n, n, h=heads, g=heads), torch.randn(1, heads, n, 32)
    selection = select_blocks(*leaves[:2], keep=keep, block=(16, 16))
    *moved, pulled = (LAYOUTS[layout](x) for x in (*leaves, grad))
    found = value_and_gradients(
        lambda q, k, v: block_sparse_attention(q, k, v, selection, backend="eager"), moved, pulled
    )
    assert max(errors(found, exact(selection, leaves, grad))) < FLOAT32


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 150), m=st.integers(1, 200), group=st.integers(1, 3), d=st.integers(1, 40))
def test_any_sizes(n: int, m: int, group: int, d: int) -> None:
    leaves = qkv(n, m, h=2 * group, g=2, d=d)
    grad = torch.randn(1, 2 * group, n, d)
    selection = random_selection(2 * group, n, m, (32, 16))
    found = value_and_gradients(
        lambda q, k, v: block_sparse_attention(q, k, v, selection), leaves, grad
    )
    # One key or one channel leaves gradients that are zero but for rounding: compare in absolute.
    for a, b in zip(found, exact(selection, leaves, grad), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 150), pins=st.integers(1, 20), group=st.integers(1, 2))
def test_pinned_tokens(n: int, pins: int, group: int) -> None:
    leaves, grad = qkv(n, n, h=2 * group), torch.randn(1, 2 * group, n, 32)
    pinned = torch.randperm(n)[: min(pins, n - 1)]
    selection = random_selection(2 * group, n, n, (32, 16), pinned)
    found = value_and_gradients(
        lambda q, k, v: block_sparse_attention(q, k, v, selection), leaves, grad
    )
    for a, b in zip(found, exact(selection, leaves, grad), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_the_mask_of_pinned_tokens_is_what_it_says() -> None:
    n, pinned = 70, torch.tensor([35, 0, 36])
    selection = random_selection(1, n, n, (32, 16), pinned)
    free = [i for i in range(n) if i not in (0, 35, 36)]
    blocks, tokens = selection.block_mask()[0, 0], selection.token_mask()[0, 0]
    for a, i in enumerate(free):
        for b, j in enumerate(free):
            assert tokens[i, j] == blocks[a // 32, b // 16]
    assert tokens[pinned].all() and tokens[:, pinned].all()
    assert selection.density == pytest.approx(float(tokens.double().mean()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [65, 500, 1374])
def test_half_precision_is_within_twice_the_error_of_pytorch(n: int, dtype: torch.dtype) -> None:
    leaves, grad = qkv(n, n, d=64, dtype=dtype), torch.randn(1, 2, n, 64).to(dtype)
    selection = select_blocks(*leaves[:2], keep=0.3, block=(64, 64))
    expected = exact(selection, leaves, grad)
    mask = selection.token_mask()
    pytorch = value_and_gradients(
        lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        leaves,
        grad,
    )
    found = value_and_gradients(
        lambda q, k, v: block_sparse_attention(q, k, v, selection), leaves, grad
    )
    for ours, theirs in zip(errors(found, expected), errors(pytorch, expected), strict=True):
        assert ours <= 2 * theirs + torch.finfo(dtype).eps / 8


def test_gradcheck_in_float64() -> None:
    leaves = [x.requires_grad_() for x in qkv(20, 40, d=4, dtype=torch.float64)]
    selection = random_selection(2, 20, 40, (16, 16))
    assert torch.autograd.gradcheck(
        lambda q, k, v: block_sparse_attention(q, k, v, selection), leaves, fast_mode=True
    )


@pytest.mark.parametrize("n", [1, 64, 200])
def test_keeping_all_is_dense_attention(n: int) -> None:
    q, k, v = qkv(n, n)
    selection = select_blocks(q, k, keep=1.0)
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(block_sparse_attention(q, k, v, selection), dense)


@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention needs a C++ compiler")
def test_flex_computes_the_same_and_refuses_gradients() -> None:
    q, k, v = qkv(300, 500, h=4, g=2, d=64)
    selection = random_selection(4, 300, 500, (128, 64))
    with torch.no_grad():
        found = block_sparse_attention(q, k, v, selection, backend="flex")
    torch.testing.assert_close(found, block_sparse_attention(q, k, v, selection))
    q.requires_grad_()
    with torch.no_grad():
        assert torch.equal(block_sparse_attention(q, k, v, selection, backend="flex"), found)
    with pytest.raises(ValueError, match="no backward pass on the CPU"):
        block_sparse_attention(q, k, v, selection, backend="flex")


def test_the_log_sum_exp() -> None:
    q, k, v = qkv(100, 130)
    selection = random_selection(2, 100, 130, (32, 16))
    out, lse = block_sparse_attention(q, k, v, selection, return_lse=True, scale=0.3)
    scores = (0.3 * q @ k.mT).masked_fill(~selection.token_mask(), -math.inf)
    torch.testing.assert_close(lse, scores.logsumexp(-1))
    torch.testing.assert_close(out, scores.softmax(-1) @ v)


def test_memory_beyond_the_tokens_is_never_read() -> None:
    """Tokens are views into storage full of NaN."""
    n = 77
    leaves = []
    for x in qkv(n, n):
        storage = torch.full((1, 2, n + 60, 48), torch.nan)
        storage[:, :, 30 : n + 30, 8:40] = x
        leaves.append(storage[:, :, 30 : n + 30, 8:40])
    selection, grad = random_selection(2, n, n, (32, 16)), torch.randn(1, 2, n, 32)

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return block_sparse_attention(q, k, v, selection)

    assert (
        max(errors(value_and_gradients(call, leaves, grad), exact(selection, leaves, grad)))
        < FLOAT32
    )


@pytest.mark.usefixtures("poisoned_empty")
def test_every_element_is_written() -> None:
    leaves, grad = qkv(100, 130), torch.randn(1, 2, 100, 32)
    selection = random_selection(2, 100, 130, (32, 16))
    found = value_and_gradients(
        lambda q, k, v: block_sparse_attention(q, k, v, selection), leaves, grad
    )
    assert not any(x.isnan().any() for x in found)


def test_keys_outside_the_lists_change_nothing() -> None:
    q, k, v = qkv(64, 128)
    mask = torch.zeros(1, 2, 2, 8, dtype=torch.bool)
    mask[..., 1:3] = True
    selection = BlockSelection.from_mask(mask, block=(32, 16), num_queries=64, num_keys=128)
    before = block_sparse_attention(q, k, v, selection)
    k, v = k.clone(), v.clone()
    k[:, :, 48:], v[:, :, 48:] = 1e4, torch.nan
    assert torch.equal(before, block_sparse_attention(q, k, v, selection))


def test_permuting_heads_permutes_the_output() -> None:
    q, k, v = qkv(100, 100, h=3, g=3)
    order = torch.tensor([2, 0, 1])
    plain = block_sparse_attention(q, k, v, select_blocks(q, k, keep=0.3, block=(32, 16)))
    q, k, v = (x[:, order] for x in (q, k, v))
    moved = block_sparse_attention(q, k, v, select_blocks(q, k, keep=0.3, block=(32, 16)))
    torch.testing.assert_close(moved, plain[:, order])
