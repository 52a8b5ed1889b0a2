"""Both branches together, against their definitions in float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sla_kernels import BlockSelection, block_sparse_attention, select_blocks, sla_attention
from sla_kernels.select.blocks import mask_to_lists

from .cases import errors, qkv, random_selection, value_and_gradients

FLOAT32 = 1e-6
FEATURE_MAPS = ["softmax", "elu1", "relu"]


def parameters(d: int) -> list[torch.Tensor]:
    return [torch.randn(d, d) / d**0.5, torch.randn(d)]


def run(selection: BlockSelection, leaves: list, grad: torch.Tensor, **options: object) -> list:
    def call(q, k, v, weight, bias):  # type: ignore[no-untyped-def]
        return sla_attention(q, k, v, selection=selection, weight=weight, bias=bias, **options)

    return value_and_gradients(call, leaves, grad)


def compare(selection: BlockSelection, leaves: list, grad: torch.Tensor, **options: object) -> list:
    exact = [leaf.double() for leaf in leaves]
    expected = run(selection, exact, grad.double(), backend="reference", **options)
    return errors(run(selection, leaves, grad, **options), expected)


def with_negligible(selection: BlockSelection) -> BlockSelection:
    mask = (torch.rand(selection.block_mask().shape) < 0.3) & ~selection.block_mask()
    width = max(1, int(mask.sum(-1).max()))
    fields = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
    return BlockSelection(**{**fields, "negligible": mask_to_lists(mask, width)})


@pytest.mark.parametrize(
    ("n", "feature_map"),
    [*itertools.product([1, 63, 64, 65, 127, 500, 1374], FEATURE_MAPS), (2748, "softmax")],
)
def test_float32_values_and_gradients(n: int, feature_map: str) -> None:
    leaves, grad = [*qkv(n, n), *parameters(32)], torch.randn(1, 2, n, 32)
    selection = random_selection(2, n, n, (128, 64))
    found = compare(selection, leaves, grad, feature_map=feature_map)
    assert found[0] < FLOAT32
    assert max(found) < (FLOAT32 if n > 1 else 1e-5)  # over one key: zero but for rounding


@pytest.mark.parametrize("scope", ["all", "complement", "marginal", None])
@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@pytest.mark.parametrize("pins", [0, 3])
def test_scopes(scope: str | None, feature_map: str, pins: int) -> None:
    n = 230
    leaves, grad = [*qkv(n, n, h=4, g=2), *parameters(32)], torch.randn(1, 4, n, 32)
    pinned = torch.randperm(n)[:pins] if pins else None
    selection = with_negligible(random_selection(4, n, n, (32, 16), pinned))
    if scope is None:
        leaves = leaves[:3]
        exact = [leaf.double() for leaf in leaves]
        call = lambda q, k, v: sla_attention(q, k, v, selection=selection, linear=None)  # noqa: E731
        only = lambda q, k, v: block_sparse_attention(q, k, v, selection, backend="reference")  # noqa: E731
        found = value_and_gradients(call, leaves, grad)
        assert max(errors(found, value_and_gradients(only, exact, grad.double()))) < FLOAT32
    else:
        options = {"linear": scope, "feature_map": feature_map}
        assert max(compare(selection, leaves, grad, **options)) < FLOAT32


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(2, 150),
    m=st.integers(2, 200),
    group=st.integers(1, 3),
    scope=st.sampled_from(["all", "complement"]),
)
def test_any_sizes(n: int, m: int, group: int, scope: str) -> None:
    leaves = [*qkv(n, m, h=2 * group), *parameters(32)]
    selection = random_selection(2 * group, n, m, (32, 16))
    found = compare(selection, leaves, torch.randn(1, 2 * group, n, 32), linear=scope)
    assert max(found) < 2 * FLOAT32


@pytest.mark.parametrize("scope", ["all", "complement", "marginal"])
def test_the_reference_is_the_formula_token_by_token(scope: str) -> None:
    q, k, v = qkv(9, 40, h=1, g=1, d=4, dtype=torch.float64)
    weight, bias = (x.double()[:4] for x in (torch.randn(4, 4), torch.randn(4)))
    selection = with_negligible(random_selection(1, 9, 40, (16, 16)))
    kept = set(selection.indices[0, 0, 0].tolist())
    skipped = set(selection.negligible[0, 0, 0].tolist())
    out = sla_attention(
        q, k, v, selection=selection, weight=weight, bias=bias, linear=scope, backend="reference"
    )
    for i in range(9):
        exact = [j for j in range(40) if j // 16 in kept]
        outside = {"all": set(), "complement": kept, "marginal": kept | skipped}[scope]
        seen = [j for j in range(40) if j // 16 not in outside]
        scores = torch.stack([q[0, 0, i] @ k[0, 0, j] / 2 for j in exact]).softmax(0)
        expected = sum(p * v[0, 0, j] for p, j in zip(scores, exact, strict=True))
        phi = q[0, 0, i].softmax(0)
        weights = [phi @ k[0, 0, j].softmax(0) for j in seen]
        state = sum(w * v[0, 0, j] for w, j in zip(weights, seen, strict=True))
        linear = state / (1e-5 + sum(weights)) if seen else torch.zeros(4, dtype=torch.float64)
        torch.testing.assert_close(out[0, 0, i], expected + weight @ linear + bias)


def test_branches_add_up() -> None:
    q, k, v = qkv(100, 130)
    weight, bias = parameters(32)
    options = {"keep": 0.3, "block": (32, 16), "weight": weight, "bias": bias}
    out = sla_attention(q, k, v, **options)
    branches = sla_attention(q, k, v, **options, return_branches=True)
    torch.testing.assert_close(out, branches.out)
    torch.testing.assert_close(out, branches.sparse + F.linear(branches.linear, weight, bias))


def test_a_mix_weighs_the_branches_head_by_head() -> None:
    leaves, grad = [*qkv(100, 130), *parameters(32), torch.rand(2)], torch.randn(1, 2, 100, 32)
    selection = select_blocks(*leaves[:2], keep=0.3, block=(32, 16))

    def call(q, k, v, weight, bias, mix):  # type: ignore[no-untyped-def]
        return sla_attention(q, k, v, selection=selection, weight=weight, bias=bias, mix=mix)

    def by_hand(q, k, v, weight, bias, mix):  # type: ignore[no-untyped-def]
        parts = sla_attention(
            q, k, v, selection=selection, return_branches=True, backend="reference"
        )
        ratio = mix[None, :, None, None]
        return ratio * parts.sparse + (1 - ratio) * F.linear(parts.linear, weight, bias)

    expected = value_and_gradients(by_hand, [x.double() for x in leaves], grad.double())
    assert max(errors(value_and_gradients(call, leaves, grad), expected)) < FLOAT32


def test_a_zero_projection_leaves_the_sparse_branch() -> None:
    q, k, v = qkv(100, 130)
    selection = select_blocks(q, k, keep=0.3, block=(32, 16))
    out = sla_attention(q, k, v, selection=selection, weight=torch.zeros(32, 32))
    assert torch.equal(out, block_sparse_attention(q, k, v, selection))


def test_eps_zero_and_nothing_in_scope_is_zero() -> None:
    leaves, grad = [*qkv(64, 64), *parameters(32)], torch.randn(1, 2, 64, 32)
    selection = select_blocks(*leaves[:2], keep=1.0, block=(32, 16))
    options = {"selection": selection, "linear": "complement", "eps": 0.0}
    q, k, v, weight, bias = leaves
    out = sla_attention(q, k, v, weight=weight, bias=bias, **options)
    torch.testing.assert_close(out, block_sparse_attention(q, k, v, selection) + bias)
    found = run(selection, leaves, grad, linear="complement", eps=0.0)
    assert not any(x.isnan().any() for x in found)


def test_bfloat16_is_within_twice_the_error_of_pytorch() -> None:
    n = 500
    leaves = [x.bfloat16() for x in [*qkv(n, n, d=64), *parameters(64)]]
    grad = torch.randn(1, 2, n, 64).bfloat16()
    selection = select_blocks(*leaves[:2], keep=0.3, block=(64, 64))
    expected = run(selection, [x.double() for x in leaves], grad.double(), backend="reference")
    mask = selection.token_mask()

    def in_pytorch(q, k, v, weight, bias):  # type: ignore[no-untyped-def]
        sparse = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        phi_q, phi_k = q.softmax(-1), k.softmax(-1)
        total = (phi_q * phi_k.sum(2, keepdim=True)).sum(-1, keepdim=True)
        return sparse + F.linear(phi_q @ (phi_k.mT @ v) / (1e-5 + total), weight, bias)

    pytorch = errors(value_and_gradients(in_pytorch, leaves, grad), expected)
    for ours, theirs in zip(errors(run(selection, leaves, grad), expected), pytorch, strict=True):
        assert ours <= 2 * theirs
