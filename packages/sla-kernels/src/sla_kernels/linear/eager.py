"""The linear branch by states: one d by d matrix and one d-vector for each block of keys.

A query block's numerator and denominator are its features times the sum of the states in its
scope. Scope "all" is one block of all keys and one of all queries. The projection acts on the
value side of a state, so it is applied to the state and costs nothing for each token. Sums run
in float32 (float64 for float64 inputs); nothing of the size of the inputs is kept for backward.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels.linear.features import FEATURE_MAPS, FeatureMap
from sla_kernels.linear.scope import Scope

HEADS_ELEMENTS = 1 << 18  # key elements of the heads handled together


@dataclass(frozen=True, kw_only=True)
class _States:
    """Sums over key blocks, before and after projection and mixing by scope."""

    phi: Tensor  # [heads blocks size d], zero beyond the last key
    values: Tensor  # [heads blocks size d]
    own: Tensor  # [heads blocks d d], phi^T values
    mixed: Tensor  # [heads rows d d], in scope of each query block, projected
    mixed_sum: Tensor  # [heads rows d 1]


def linear_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    base: Tensor | None,
    scope: Scope,
    feature_map: str,
    eps: float,
    in_place: bool = False,
) -> Tensor:
    """Return base plus the linear branch, projected by weight and bias, as far as given."""
    phi = FEATURE_MAPS[feature_map]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if in_place and base is not None:
        out = base
    for batch, keys, queries in _heads(q, k):
        heads, here = _count(keys), (batch, queries)
        part = scope.part(*here)
        states = _states(k[batch, keys], v[batch, keys], weight, part, phi, _count(queries))
        rows = phi.map(_blocks(q[here], scope.block_q, heads))
        found = (rows @ states.mixed).div_(_total(rows, states, eps))
        if bias is not None:
            found += bias
        found = _tokens(found, _count(queries), q.shape[2])
        out[here] = found if base is None else found.add_(base[here])
    return out


def linear_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    scope: Scope,
    feature_map: str,
    eps: float,
    into: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v (added to `into` if given) and weight (or nothing)."""
    phi = FEATURE_MAPS[feature_map]
    made = into or tuple(torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    d_weight = torch.zeros(q.shape[3], q.shape[3], dtype=_type(q), device=q.device)
    for batch, keys, queries in _heads(q, k):
        here, there, part = (batch, queries), (batch, keys), scope.part(batch, queries)
        states = _states(k[there], v[there], weight, part, phi, _count(queries))
        dq, *gradients = _pull_back_queries(grad[here], q[here], states, part, phi, eps)
        made[0][here] += dq
        key_blocks = states.own.shape[1]
        d_state, d_sum = (part.unmix(x, key_blocks) for x in gradients)
        if weight is not None:
            d_weight += torch.einsum("xjab,xjac->bc", d_state, states.own)
            d_state = d_state @ weight.to(d_state.dtype)
        x = _blocks(k[there], scope.block_k, _count(keys))
        d_phi = (states.values @ d_state.mT).add_(d_sum.mT)
        made[1][there] += _tokens(phi.pull_back(x, states.phi, d_phi), *k[there].shape[:2])
        made[2][there] += _tokens(states.phi @ d_state, *v[there].shape[:2])
    return made[0], made[1], made[2], q.new_empty(0) if weight is None else d_weight


def _pull_back_queries(
    grad: Tensor, q: Tensor, states: "_States", scope: Scope, phi: FeatureMap, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, of the mixed states and of their sums."""
    heads = states.own.shape[0]
    x = _blocks(q, scope.block_q, heads)
    rows = phi.map(x)
    total = _total(rows, states, eps)
    d_num = _blocks(grad, scope.block_q, heads) / total
    d_total = -(rows @ states.mixed).mul_(d_num).div_(total).sum(-1, keepdim=True)
    d_rows = (d_num @ states.mixed.mT).add_(d_total * states.mixed_sum.mT)
    dq = _tokens(phi.pull_back(x, rows, d_rows), *q.shape[:2])
    return dq, rows.mT @ d_num, rows.mT @ d_total


def _heads(q: Tensor, k: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """Batch entry, key heads and query heads, a cache-sized part at a time."""
    group = q.shape[1] // k.shape[1]
    step = max(1, HEADS_ELEMENTS // (k.shape[2] * k.shape[3]))
    for batch in range(k.shape[0]):
        for start in range(0, k.shape[1], step):
            end = min(start + step, k.shape[1])
            yield batch, slice(start, end), slice(start * group, end * group)


def _count(part: slice) -> int:
    return int(part.stop - part.start)


def _type(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _blocks(x: Tensor, size: int, heads: int) -> Tensor:
    """Cut (heads * group, tokens, d) into (heads, group * blocks, size, d), zero-padded."""
    x = x.to(_type(x))
    if x.shape[1] % size:
        x = F.pad(x, (0, 0, 0, -x.shape[1] % size))
    return x.reshape(heads, -1, size, x.shape[2])


def _tokens(blocks: Tensor, heads: int, tokens: int) -> Tensor:
    """Undo `_blocks`."""
    return blocks.reshape(heads, -1, blocks.shape[3])[:, :tokens]


def _states(
    k: Tensor, v: Tensor, weight: Tensor | None, scope: Scope, phi: FeatureMap, queries: int
) -> _States:
    heads = k.shape[0]
    features = _blocks(phi.map(k.to(_type(k))), scope.block_k, heads)
    values = _blocks(v, scope.block_k, heads)
    own = features.mT @ values
    projected = own if weight is None else own @ weight.to(own.dtype).T
    group = queries // heads
    return _States(
        phi=features,
        values=values,
        own=own,
        mixed=scope.mix(projected, group),
        mixed_sum=scope.mix(features.sum(2)[..., None], group),
    )


def _total(rows: Tensor, states: _States, eps: float) -> Tensor:
    """The denominators; infinite where no key is in scope, so that the branch is zero there."""
    total = rows @ states.mixed_sum + eps
    return torch.where(total == 0, torch.inf, total)
