"""How rows are read: what may not spread, and what batches and types may not change."""

import pytest
import torch
from torch import Tensor

from sla_kernels import select_rows
from sla_kernels.runtime import parts
from sla_kernels.search import choose, walk
from sla_kernels.summary import eager, op

from .selections import by_operator, dense, draw, few, select


@pytest.mark.parametrize("broken", [7, 130])
def test_one_broken_token_reaches_only_rows_that_attend_it_or_its_cells(broken: int) -> None:
    q, k, v = draw(256, 256, heads=1, groups=1)
    k[0, 0, broken] = torch.nan
    selection = few(q, k, v, keep=1, summary=(4, 16, 64), opened=1)
    layout = selection.layout
    place = int((selection.order[0] == broken).nonzero())
    levels = range(len(layout.sizes))
    its = [place, *(layout.first(i) + place // layout.sizes[i] for i in levels)]
    lists = torch.isin(selection.rows[0, 0], torch.tensor(its, dtype=torch.int32)).any(1)
    out = by_operator(q, k, v, selection)[0, 0][selection.order[0]]
    rows = lists.repeat_interleave(selection.block_q)[:256]
    assert lists.any()
    assert torch.equal(out.isnan().any(1), rows)


def test_memory_that_was_never_written_is_never_read(poisoned_empty: None) -> None:
    q, k, v = draw(203, 203)
    outside = torch.tensor([0, 100])
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = by_operator(*leaves, select(*leaves, pinned=outside))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(x.grad.isfinite().all() for x in leaves)


@pytest.mark.parametrize(("heads", "groups", "keys"), [(2, 2, 300), (4, 2, 300), (4, 2, 210)])
def test_batches_that_fit_the_cache_change_nothing(
    monkeypatch: pytest.MonkeyPatch, heads: int, groups: int, keys: int
) -> None:
    """Batches of query blocks, of heads and of cells, forward and backward; also with pinned."""
    leaves = [x.requires_grad_() for x in draw(300, keys, heads=heads, groups=groups, batch=2)]
    outside = torch.tensor([3, 70]) if keys == 300 else None

    def run() -> list[Tensor]:
        selection = few(*leaves, pinned=outside)
        out = by_operator(*leaves, selection)
        grads = torch.autograd.grad(out.square().sum(), leaves)
        return [selection.order, selection.rows, selection.tilt, out.detach(), *grads]

    whole = run()
    monkeypatch.setattr(eager, "BATCH_BYTES", 1)
    monkeypatch.setattr(walk, "BATCH_BYTES", 1)
    monkeypatch.setattr(parts, "RUN_BYTES", 1)
    for module in (choose, op):
        monkeypatch.setattr(module, "by_heads", lambda q, k, most=1: parts.by_heads(q, k, 1))
    for found, expected in zip(run(), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_gpu_without_kernels_reads_listed_rows_in_few_batches() -> None:
    """16 heads of 44,000 tokens, as 1,300 rows a block, in a quarter of a GiB at a time."""
    keys, bias = torch.empty(50_000, 64, device="meta"), torch.empty(50_000, device="meta")
    lists = torch.empty(16 * 688, 1300, dtype=torch.int32, device="meta")
    starts = torch.empty(len(lists), 1, dtype=torch.int32, device="meta")
    flat = eager._Flat(keys=keys, values=keys, bias=bias, lists=lists, starts=starts)
    held = len(lists) * 1300 * (2 * 64 + 2 * 64) * 4
    assert held / parts.ACCELERATOR_BYTES <= len(list(eager._batches(flat, 64))) < 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounded_types_err_no_more_than_pytorchs_own_attention(dtype: torch.dtype) -> None:
    q, k, v = (x.to(dtype) for x in draw(200, 200))
    exact = [x.double() for x in (q, k, v)]
    selection = select(*exact)
    ours = by_operator(q, k, v, selection)
    assert ours.dtype == dtype
    error = (ours.double() - by_operator(*exact, selection)).norm()
    other = (dense(q, k, v).double() - dense(*exact)).norm()
    # Scores and biases are rounded too where the processor multiplies bfloat16.
    assert error <= 3 * other + 1e-6 * ours.double().norm()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_broken_token_stands_where_a_token_of_zeros_would(broken: float) -> None:
    q, k, v = draw(100, 100)
    axes = torch.linalg.qr(torch.randn(k.shape[1] * k.shape[3], 4))[0]
    orders = []
    for value in (broken, 0.0):
        keys = k.clone()
        keys[:, :, 17] = value
        orders.append(
            select_rows(q, keys, v, keep=2, block=(16, 4), summary=(4, 16), axes=axes).order
        )
    assert torch.equal(*orders)
