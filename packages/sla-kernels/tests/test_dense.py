"""Where "auto" runs dense attention: where nothing else would be computed, and it says so."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from sla_kernels import (
    BlockSelection,
    SparseLinearAttention,
    block_sparse_attention,
    explain,
    select_blocks,
    sla_attention,
)

from .cases import qkv, value_and_gradients

BLOCK = (32, 16)


def test_keeping_all_runs_dense_attention_and_says_so() -> None:
    q, k, v = qkv(100, 130)
    told = explain(q, k, keep=1.0, block=BLOCK)
    assert (told.backend, told.dense, told.density) == ("dense", True, 1.0)
    assert "every key block is kept" in told.reason
    out = sla_attention(q, k, v, keep=1.0, block=BLOCK, linear=None)
    assert torch.equal(out, F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize(
    ("n", "m", "d"), [(100, 130, 32), (1, 1, 64), (1500, 1500, 64), (33, 7, 24)]
)
@pytest.mark.parametrize("groups", [4, 2])
def test_products_of_bfloat16_are_dense_attention(
    n: int, m: int, d: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sla_kernels.sparse.dense.product_type", lambda x: x.dtype)
    q, k, v = qkv(n, m, h=4, g=groups, d=d, dtype=torch.bfloat16)
    exact = (x.double() for x in (q, k, v))
    expected = F.scaled_dot_product_attention(*exact, enable_gqa=groups < 4)
    found = sla_attention(q, k, v, keep=1.0, block=BLOCK, linear=None, backend="dense")
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() <= 0.01 * expected.norm()
    learned = sla_attention(
        *(x.requires_grad_() for x in (q, k, v)),
        keep=1.0,
        block=BLOCK,
        linear=None,
        backend="dense",
    )
    assert "ScaledDotProduct" in type(learned.grad_fn).__name__


def attend_every_key(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return sla_attention(q, k, v, keep=1.0, block=BLOCK, linear=None)


@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 1030), (torch.bfloat16, 70)])
@torch.no_grad()
def test_without_gradients_dense_attention_is_an_operator_to_all_that_watch_operators(
    dtype: torch.dtype, n: int
) -> None:
    q, k, v = (
        torch.cat(two) for two in zip(*(qkv(n, n, g=1, dtype=dtype) for _ in "ab"), strict=True)
    )
    expected = attend_every_key(q, k, v)
    traced = make_fx(attend_every_key)(q, k, v)
    assert torch.equal(traced(-q, k, v), attend_every_key(-q, k, v))
    assert torch.equal(attend_every_key(torch._neg_view(-q), k, v), expected)
    scenes = torch.vmap(lambda *x: attend_every_key(*(one[None] for one in x))[0])(q, k, v)
    torch.testing.assert_close(scenes, expected)
    with FakeTensorMode() as mode:
        fake = attend_every_key(*map(mode.from_tensor, (q, k, v)))
    assert (fake.shape, fake.stride()) == (expected.shape, expected.stride())


@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 1030), (torch.bfloat16, 70)])
def test_the_operator_of_dense_attention_keeps_pytorchs_rules(dtype: torch.dtype, n: int) -> None:
    q, k, v = qkv(n, n, h=2, g=1, dtype=dtype)
    torch.library.opcheck(torch.ops.sla_kernels.attend_all.default, (q, k, v, 0.2))


@pytest.mark.parametrize("scope", ["all", "complement"])
@pytest.mark.parametrize("pinned", [None, torch.tensor([3, 70])])
@pytest.mark.parametrize("groups", [2, 1])
def test_dense_attention_and_the_lists_compute_the_same(
    scope: str, pinned: torch.Tensor | None, groups: int
) -> None:
    leaves, grad = (
        [*qkv(100, 100, g=groups), torch.randn(32, 32), torch.randn(32)],
        torch.randn(1, 2, 100, 32),
    )
    selection = select_blocks(*leaves[:2], keep=1.0, block=BLOCK, pinned=pinned)

    def run(backend: str) -> list[torch.Tensor]:
        def call(q, k, v, weight, bias):  # type: ignore[no-untyped-def]
            return sla_attention(
                q,
                k,
                v,
                selection=selection,
                weight=weight,
                bias=bias,
                linear=scope,
                backend=backend,
            )

        return value_and_gradients(call, leaves, grad)

    for dense, listed in zip(run("auto"), run("eager"), strict=True):
        torch.testing.assert_close(dense, listed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"keep": 0.99}, {"keep": 9}, {"keep": 1.0, "top_p": 0.9}])
def test_what_is_not_known_to_keep_all_is_never_dense(options: dict) -> None:
    q, k, _ = qkv(100, 130)
    selection = select_blocks(q, k, block=BLOCK, **options)
    assert explain(q, k, selection=selection).backend == "eager"


@pytest.mark.parametrize("device", ["cpu", "meta"])  # what meta predicts is a GPU
@pytest.mark.parametrize("order", ["sequence", "content"])
def test_grouped_heads_that_attend_every_key_are_dense_on_every_device(
    device: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sla_kernels.backend.own", None)  # what would read lists
    q, k, v = (x.to(device) for x in qkv(100, 100, h=4, g=2))
    block = BLOCK if order == "sequence" else (64, 4)
    module = SparseLinearAttention(32, keep=1.0, block=block, order=order, linear=None)
    assert module(q, k, v).shape == q.shape


def test_the_log_sum_exp_stays_with_the_lists() -> None:
    q, k, v = qkv(100, 100)
    _, lse = block_sparse_attention(q, k, v, select_blocks(q, k, keep=1.0), return_lse=True)
    torch.testing.assert_close(lse, (q @ k.mT / 32**0.5).logsumexp(-1))


def test_a_mask_that_keeps_all_is_dense() -> None:
    mask = torch.ones(1, 2, 4, 9, dtype=torch.bool)
    options = {"block": BLOCK, "num_queries": 100, "num_keys": 130}
    assert BlockSelection.from_mask(mask, **options).keeps_all
    mask[0, 1, 2, 3] = False
    assert not BlockSelection.from_mask(mask, **options).keeps_all


def test_dense_is_refused_where_it_would_compute_something_else() -> None:
    q, k, v = qkv(100, 130)
    selection = select_blocks(q, k, keep=0.5, block=BLOCK)
    with pytest.raises(ValueError, match="not known to keep every key block"):
        block_sparse_attention(q, k, v, selection, backend="dense")
    fields = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
    with pytest.raises(ValueError, match="room for 4 of 9 key blocks"):
        BlockSelection(**{**fields, "keeps_all": True})


def test_explain_tells_where_keeping_fewer_blocks_does_not_pay() -> None:
    q, k, _ = qkv(320, 320)
    sparse, nearly_all = (explain(q, k, keep=keep, block=BLOCK) for keep in (0.2, 0.95))
    assert "without gradients this selection is faster" in str(sparse)
    assert "with gradients this selection is faster" in str(sparse)
    assert "without gradients dense attention is faster" in str(nearly_all)
    assert "with gradients dense attention is faster" in str(nearly_all)
    assert nearly_all.backend == "eager"
