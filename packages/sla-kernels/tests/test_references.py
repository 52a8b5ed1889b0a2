"""The references themselves, against sums written out query by query in plain arithmetic."""

import math

import pytest
import torch
from torch import Tensor

from sla_kernels.linear.reference import linear_attention_reference
from sla_kernels.sparse.reference import sparse_attention_reference

FEATURES = {
    "softmax": lambda x: [math.exp(v) / sum(math.exp(w) for w in x) for v in x],
    "elu1": lambda x: [v + 1 if v > 0 else math.exp(v) for v in x],
    "relu": lambda x: [max(v, 0.0) for v in x],
}


def inputs(*, d: int = 4) -> tuple[list[list[list[float]]], list[Tensor], Tensor]:
    """Four heads of queries over two of keys, and a mask that keeps some keys of each query."""
    q, k, v = (torch.randn(1, heads, n, d).double() for heads, n in ((4, 5), (2, 7), (2, 7)))
    mask = torch.rand(1, 4, 5, 7) < 0.5
    mask[..., 2] = True
    return [x[0].tolist() for x in (q, k, v)], [q, k, v], mask


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def mean(weights: list[float], rows: list[list[float]], total: float) -> list[float]:
    return [dot(weights, list(column)) / total for column in zip(*rows, strict=True)]


def test_the_sparse_branch_is_the_softmax_over_the_keys_kept() -> None:
    (q, k, v), tensors, mask = inputs()
    out, lse = sparse_attention_reference(*tensors, mask, 0.3)
    for head in range(4):
        for i, row in enumerate(q[head]):
            kept = mask[0, head, i].nonzero().flatten().tolist()
            weights = [math.exp(0.3 * dot(row, k[head // 2][j])) for j in kept]
            wanted = mean(weights, [v[head // 2][j] for j in kept], sum(weights))
            assert out[0, head, i].tolist() == pytest.approx(wanted, rel=1e-12)
            assert float(lse[0, head, i]) == pytest.approx(math.log(sum(weights)), rel=1e-12)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("masked", [False, True])
def test_the_linear_branch_is_the_mean_by_features(name: str, masked: bool) -> None:
    (q, k, v), tensors, mask = inputs()
    given = mask if masked else None
    out = linear_attention_reference(*tensors, given, name, 0.01)
    phi = FEATURES[name]
    for head in range(4):
        for i, row in enumerate(q[head]):
            kept = mask[0, head, i].nonzero().flatten().tolist() if masked else list(range(7))
            weights = [dot(phi(row), phi(k[head // 2][j])) for j in kept]
            wanted = mean(weights, [v[head // 2][j] for j in kept], 0.01 + sum(weights))
            assert out[0, head, i].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_the_linear_branch_is_zero_where_nothing_is_left_and_nothing_is_added() -> None:
    _, tensors, mask = inputs()
    none = torch.zeros_like(mask)
    assert not linear_attention_reference(*tensors, none, "relu", 0.0).any()
    assert linear_attention_reference(*tensors, mask, "softmax", 0.0).isfinite().all()
