"""Few exact blocks and summaries for the rest: laws, gradients, tails, what may not spread."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sla_kernels import (
    SparseLinearAttention,
    SummarySelection,
    calibrated,
    explain,
    sdpa_override,
    select_rows,
    sla_attention,
)
from sla_kernels.runtime import parts
from sla_kernels.search import RowChoice, choose, walk
from sla_kernels.summary import eager, op
from sla_kernels.summary.rows import rows_of
from sla_kernels.summary.weights import weights_of

SIZES = [(1,), (4,), (4, 16), (2, 8, 64), (5, 15)]


def draw(
    tokens: int, keys: int, *, heads: int = 2, groups: int = 2, batch: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = [(batch, heads, tokens, 8), (batch, groups, keys, 8), (batch, groups, keys, 8)]
    q, k, v = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shape)
    return q, k, v


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(
        q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    )


def select(q: Tensor, k: Tensor, v: Tensor, **options: object) -> SummarySelection:
    settings = {"keep": 3, "block": (16, 4), "summary": (4, 16), "opened": 3, "axes": 4}
    made = {**settings, **options}
    if isinstance(made["summary"], tuple):
        made["block"] = (made["block"][0], made["summary"][0])
    return select_rows(q, k, v, **made)


def few(q: Tensor, k: Tensor, v: Tensor, **options: object) -> SummarySelection:
    """A selection that lists few rows however few tokens there are."""
    from sla_kernels.search import choice

    worth, choice.WORTH = choice.WORTH, 10.0
    try:
        return select(q, k, v, **options)
    finally:
        choice.WORTH = worth


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


def by_operator(q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection) -> Tensor:
    return sla_attention(q, k, v, selection=selection, linear=None, backend="eager")


def by_definition(q: Tensor, k: Tensor, v: Tensor, selection: SummarySelection) -> Tensor:
    """Means, entropies and softmax written out scene by scene, to be differentiated as they are."""
    group = q.shape[1] // k.shape[1]
    layout, own = selection.layout, q.shape[2] == k.shape[2]
    out = dense(q, k, v).clone()
    for scene, order in enumerate(selection.order):
        for head in range(q.shape[1]):
            g = head // group
            ks, vs = k[scene, g][order], v[scene, g][order]
            keys, values = [*ks], [*vs]
            bias = [torch.zeros((), dtype=q.dtype)] * len(keys)
            absent = (torch.zeros_like(ks[0]), torch.tensor(-torch.inf, dtype=q.dtype))
            for _ in range(layout.padded - layout.tokens):
                keys.append(absent[0]), values.append(absent[0]), bias.append(absent[1])
            for level, size in enumerate(layout.sizes):
                more = 0 if selection.offsets is None else selection.offsets[g, level].double()
                for start in range(0, layout.tokens, size):
                    part = slice(start, min(start + size, layout.tokens))
                    w = selection.tilt[scene, g][part].softmax(0)
                    keys.append(w @ ks[part]), values.append(w @ vs[part])
                    bias.append(-(w * w.log()).sum() + more)
            for position in selection.outside:
                keys.append(k[scene, g][position]), values.append(v[scene, g][position])
                bias.append(torch.zeros((), dtype=q.dtype))
            keys.append(absent[0]), values.append(absent[0]), bias.append(absent[1])
            K, V, B = torch.stack(keys), torch.stack(values), torch.stack(bias)
            queries = order if own else torch.arange(q.shape[2])
            made = []
            for place, position in enumerate(queries.tolist()):
                rows = selection.rows[scene, head, place // selection.block_q].long()
                scores = K[rows] @ q[scene, head, position] * q.shape[3] ** -0.5 + B[rows]
                made.append(scores.softmax(0) @ V[rows])
            out[scene, head] = out[scene, head].index_put((queries,), torch.stack(made))
    return out


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


@pytest.mark.parametrize(("summary", "few", "many"), [((4, 16), 1, 20), (None, 7, 8)])
def test_long_lists_become_dense_attention(
    summary: tuple[int, ...] | None, few: int, many: int
) -> None:
    """Of 96 tokens 28 may be listed: 7 blocks of 4 without summaries."""
    q, k, v = draw(96, 96)
    assert not select(q, k, v, keep=few, summary=summary).keeps_all
    selection = select(q, k, v, keep=many, summary=summary)
    assert selection.keeps_all
    assert explain(q, k, selection=selection).backend == "dense"


@pytest.mark.parametrize(
    ("tokens", "sizes"), [(8192, (4, 64)), (8224, (4, 64)), (16448, (4, 64, 512))]
)
def test_sizes_that_make_no_list_shorter_are_not_searched(
    tokens: int, sizes: tuple[int, ...]
) -> None:
    choice = RowChoice(keep=32, opened=16, summary=(4, 64, 512, 4096))
    assert choice.plan(tokens, 0, 64).sizes == sizes


def make(**options: object) -> SparseLinearAttention:
    settings = {"keep": 3, "block": (16, 4), "order": "content", "summary": (4, 16), "axes": 4}
    return SparseLinearAttention(8, **{**settings, "opened": 3, **options}).double()


def test_the_module_is_the_function() -> None:
    q, k, v = draw(200, 200)
    module, outside = make(linear=None), torch.tensor([0, 64])
    expected = sla_attention(
        q, k, v, keep=3, block=(16, 4), order="content", summary=(4, 16), opened=3, axes=4,
        linear=None, pinned=outside,
    )  # fmt: skip
    assert torch.equal(module(q, k, v, pinned=outside), expected)
    assert torch.equal(
        module.selection(q, k, v, outside).rows, select(q, k, v, pinned=outside).rows
    )


def test_the_linear_branch_adds_its_projection() -> None:
    q, k, v = draw(200, 200)
    module = make(linear="all")
    before = module(q, k, v)
    torch.testing.assert_close(before, make(linear=None)(q, k, v))
    torch.nn.init.eye_(module.proj_l.weight)
    plain = SparseLinearAttention(8, keep=1.0, block=(16, 16)).double()
    torch.nn.init.eye_(plain.proj_l.weight)
    torch.testing.assert_close(module(q, k, v) - before, plain(q, k, v) - dense(q, k, v))


def test_calibrated_axes_are_kept_saved_and_loaded() -> None:
    q, k, v = draw(200, 200)
    module = make()
    with calibrated(module):
        module(q, k, v)
        module(q, 2 * k, v)
    assert module.directions.shape == (16, 4)
    other = make()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(q, k, v), module(q, k, v))
    assert torch.equal(copy.deepcopy(module)(q, k, v), module(q, k, v))


def test_an_attention_that_did_not_run_is_not_calibrated() -> None:
    module = torch.nn.ModuleList([make(), make()])
    q, k, v = draw(200, 200)
    with pytest.raises(ValueError, match="attention '1' saw no keys"), calibrated(module):
        module[0](q, k, v)
    assert module[0].directions is None
    assert module[0].watch is None


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


@pytest.mark.parametrize(("order", "said"), [("content", "its own"), ("sequence", "sequence")])
def test_explain_looks_at_the_order_of_a_selection(order: str, said: str) -> None:
    q, k, v = draw(515, 515)
    selection = select_rows(q, k, v, keep=4, block=(32, 4), order=order, summary=(4, 32))
    found = explain(q, k, selection=selection)
    assert found.seen is not None
    assert found.seen.order == said


def test_explain_says_what_a_query_sees() -> None:
    q, k, _ = draw(2000, 2000)
    options = {"keep": 4, "block": (16, 4), "order": "content", "summary": (4, 32, 256)}
    found = explain(q, k, **options, opened=4)
    assert found.seen.exact == 16
    assert (
        found.seen.summaries + 16
        == select(q, k, k, keep=4, summary=(4, 32, 256), opened=4).keys_seen
    )
    assert found.seen.share < 0.2
    assert "content order" in str(found)
    assert "16 keys exactly" in str(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"summary": (4, 10)}, r"summary=\(4, 10\); each must be"),
        ({"summary": (8, 16), "block": (16, 4)}, "the smallest cells must be the key blocks"),
        ({"order": "random"}, "order='random'; it must be"),
        ({"opened": 0}, "opened=0; it must be a whole number"),
        ({"axes": 99}, "axes=99 with keys of 16 features"),
        ({"axes": torch.randn(3, 2)}, r"axes has shape \(3, 2\)"),
        ({"keep": 0}, "keep=0; it must be"),
        ({"pinned": torch.tensor([500])}, "pinned spans 500"),
    ],
)
def test_what_cannot_be_chosen_is_refused(options: dict[str, object], message: str) -> None:
    q, k, v = draw(100, 100)
    made = {"keep": 2, "block": (16, 4), "summary": (4, 16), "axes": 4, **options}
    with pytest.raises(ValueError, match=message):
        select_rows(q, k, v, **made)


@pytest.mark.parametrize("order", [None, "random"])
def test_an_order_that_is_none_is_refused_when_the_settings_are_made(order: object) -> None:
    """Put in behind the type checker that tests run with."""
    choice = copy.copy(RowChoice(keep=2))
    object.__setattr__(choice, "order", order)
    with pytest.raises(ValueError, match=rf"order={order!r}; .*'sequence', 'content'"):
        choice.__post_init__()


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


def test_an_order_may_look_along_as_many_axes_as_keys_have_features() -> None:
    q, k, v = draw(100, 100)
    whole = select_rows(
        q, k, v, keep=2, block=(16, 4), summary=(4, 16), axes=k.shape[1] * k.shape[3]
    )
    every = torch.arange(100).expand_as(whole.order)
    assert torch.equal(whole.order.sort(1).values, every)


def test_a_selection_for_other_tokens_is_refused() -> None:
    q, k, v = draw(100, 100)
    with pytest.raises(ValueError, match="selection was made for"):
        sla_attention(*draw(99, 99), selection=select(q, k, v), linear=None)
    with pytest.raises(ValueError, match="linear='complement' with order"):
        sla_attention(q, k, v, selection=select(q, k, v), linear="complement")
    with pytest.raises(ValueError, match=r"top_p=0\.5"):
        make(top_p=0.5)
    with pytest.raises(ValueError, match="backend='flex'"):
        sla_attention(q, k, v, selection=few(q, k, v), linear=None, backend="flex")


@pytest.mark.parametrize("keep", [3, 1.0])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_selection_for_other_heads_of_keys_is_refused(groups: int, keep: float) -> None:
    q, k, v = draw(200, 200, heads=4)
    selection = select(q, k, v, keep=keep)
    for backend in ("auto", "eager", "reference"):
        with pytest.raises(ValueError, match=f"k has {groups} heads and those .* were 2; .*anew"):
            sla_attention(
                q, *draw(200, 200, groups=groups)[1:], selection=selection, linear=None,
                backend=backend,
            )  # fmt: skip


def test_a_model_of_others_runs_with_one_order_and_summaries_its_code_unchanged() -> None:
    class Model(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v)

    q, k, v = draw(200, 200)
    model, attention = Model(), make(linear=None)
    with sdpa_override(model, lambda site: attention):
        found = model(q, k, v)
    assert torch.equal(found, attention(q, k, v))
    assert torch.equal(model(q, k, v), dense(q, k, v))


class Called(TorchDispatchMode):
    """Notes the operators that run, but for those that only set memory aside."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is not torch.ops.aten.empty.memory_format:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("heads", [2, 4])
def test_gradients_with_pinned_tokens_are_the_same_within_a_dispatch_mode(heads: int) -> None:
    x = [part.requires_grad_() for part in draw(70, 70, heads=heads)]
    chosen = few(*(part.detach() for part in x), pinned=torch.tensor([3, 40]))

    def pull_back() -> tuple[Tensor, ...]:
        out = sla_attention(*x, selection=chosen, linear=None)
        return torch.autograd.grad(out.square().sum(), x)

    expected = pull_back()
    with Called():
        found = pull_back()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("options", [{"keep": 1.0}, {"keep": 3, "all_below": 71}])
def test_attention_to_every_key_runs_dense_attention_and_nothing_else(options: dict) -> None:
    x = draw(70, 70)
    attention = make(linear=None)
    attention.choice = replace(attention.choice, **options)
    with Called() as alone:
        F.scaled_dot_product_attention(*x)
    with Called() as found:
        attention(*x)
    given = attention.selection(*x)
    with Called() as again:
        sla_attention(*x, selection=given, linear=None)
    assert found.names == again.names == alone.names
    assert attention.selection(*x).density == 1


@pytest.mark.parametrize("pins", [0, 2])
@pytest.mark.parametrize("tokens", [1, 64, 70, 300])
def test_a_selection_of_every_key_says_what_its_lists_say(tokens: int, pins: int) -> None:
    pinned = torch.arange(min(pins, tokens - 1)) * 3
    for keys in (tokens, tokens + 9):
        q, k, v = draw(tokens, keys, heads=4, batch=2)
        chosen = select(q, k, v, keep=1.0, pinned=pinned if keys == tokens else None)
        assert chosen.keeps_all and chosen.density == 1 and chosen.token_mask().all()
        assert (*chosen.batch_heads, chosen.query_blocks, chosen.keys_seen) == chosen.rows.shape
        assert chosen.order.shape == (2, chosen.layout.tokens)
        assert chosen.tilt.shape == (2, 2, chosen.layout.padded)
        fields = {name: getattr(chosen, name) for name in chosen.__dataclass_fields__}
        told = SummarySelection(**fields)  # as one that was made with lists
        for name in ("batch_heads", "query_blocks", "keys_seen", "density", "keeps_all", "block"):
            assert getattr(told, name) == getattr(chosen, name), name
        listed = sla_attention(q, k, v, selection=told, linear=None, backend="eager")
        torch.testing.assert_close(listed, dense(q, k, v))


def test_keeping_everything_lists_every_token_once_and_stores_one_list() -> None:
    q, k, v = draw(70, 70)
    selection = select_rows(q, k, v, keep=1.0, pinned=torch.tensor([0, 41]))
    layout = selection.layout
    assert selection.rows.untyped_storage().nbytes() == 4 * selection.keys_seen
    found = selection.rows[0, 0, 0]
    real = found[found != layout.nothing]
    tokens = torch.arange(layout.tokens)
    last = layout.first(len(layout.sizes)) + torch.arange(2)
    assert torch.equal(real.long().sort().values, torch.cat([tokens, last]).sort().values)
    both = torch.cat([selection.order[0], selection.outside])
    assert torch.equal(both.sort().values, torch.arange(70))
