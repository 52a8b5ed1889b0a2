"""The linear branch by states: one d by d matrix and one d-vector for each block of keys.

A query block's numerator and denominator are its features times the sum of the states in its
scope. Scope "all" is one block of all keys and one of all queries. Sums run
in float32 (float64 for float64 inputs). Tokens pass by in runs: beyond the states nothing larger
than one run exists in float32, and nothing of the size of the inputs is kept for backward.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels.linear.features import FEATURE_MAPS, FeatureMap
from sla_kernels.linear.rule import Rule
from sla_kernels.linear.scope import Scope
from sla_kernels.linear.states import States, pull_back_seen, seen
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.blocks import num_blocks

RUN_ELEMENTS = 1 << 16  # of the heads and tokens handled together


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Consecutive tokens: some whole blocks, or a part of one."""

    tokens: slice
    blocks: slice
    size: int  # tokens in a piece: of a block, or of the part

    def cut(self, x: Tensor) -> Tensor:
        """Cut (heads, tokens, d) into (heads, pieces, size, d), zero-padded, to sum in."""
        x = x[:, self.tokens].to(at_least_float32(x))
        if x.shape[1] % self.size:
            x = F.pad(x, (0, 0, 0, -x.shape[1] % self.size))
        return x.reshape(x.shape[0], -1, self.size, x.shape[2])

    def joined(self, pieces: Tensor) -> Tensor:
        """Undo `cut`: (heads, tokens of the run, d)."""
        return pieces.flatten(1, 2)[:, : self.tokens.stop - self.tokens.start]

    def inside(self, pieces: Tensor) -> Tensor:
        """Zero what lies beyond the last token."""
        count = self.tokens.stop - self.tokens.start
        if pieces.shape[1] * self.size > count:
            pieces.flatten(1, 2)[:, count:] = 0
        return pieces


def linear_attention_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    base: Tensor | None,
    scope: Scope,
    rule: Rule,
    in_place: bool = False,
) -> Tensor:
    """Return base plus the linear branch, projected by weight and bias, as far as given."""
    phi = FEATURE_MAPS[rule.feature_map]
    into = base if in_place else None
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if into is None else into
    for here, there in _heads(q, k):
        own = _states(k[there], v[there], scope, phi)
        states = _seen(own, weight, scope.part(*here), _count(here))
        for run in _runs(q[here], scope.block_q):
            rows = phi.map(run.cut(q[here]))
            found = rows @ states.matrices[:, run.blocks]
            found = run.joined(found.div_(_total(rows, states, run, rule.eps)))
            if bias is not None:
                found += bias
            if base is not None:
                found += base[here][:, run.tokens]
            out[here][:, run.tokens] = found
    return out


def linear_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    scope: Scope,
    rule: Rule,
    into: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v (added to `into` if given) and weight (or nothing)."""
    phi = FEATURE_MAPS[rule.feature_map]
    dq, dk, dv = into or (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    d_weight = torch.zeros(q.shape[3], q.shape[3], dtype=at_least_float32(q), device=q.device)
    for here, there in _heads(q, k):
        part = scope.part(*here)
        own = _states(k[there], v[there], scope, phi)
        states = _seen(own, weight, part, _count(here))
        d_seen = _pull_back_queries(grad[here], q[here], dq[here], states, part, phi, rule.eps)
        (d_state, d_sum), more = pull_back_seen(d_seen, own, weight, part)
        if more is not None:
            d_weight += more
        for run in _runs(k[there], scope.block_k):
            x, values = run.cut(k[there]), run.cut(v[there])
            features = phi.map(x)
            d_phi = (values @ d_state[:, run.blocks].mT).add_(d_sum[:, run.blocks].mT)
            dk[there][:, run.tokens] += run.joined(phi.pull_back(x, features, d_phi))
            dv[there][:, run.tokens] += run.joined(features @ d_state[:, run.blocks])
    return dq, dk, dv, q.new_empty(0) if weight is None else d_weight


def _pull_back_queries(
    grad: Tensor,
    q: Tensor,
    dq: Tensor,
    states: States,
    scope: Scope,
    phi: FeatureMap,
    eps: float,
) -> States:
    """Add the gradient of q to dq; return that of the states its blocks see."""
    made = States(*(torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in states))
    for run in _runs(q, scope.block_q):
        x, at = run.cut(q), run.blocks
        rows = phi.map(x)
        total = _total(rows, states, run, eps)
        d_num = run.cut(grad) / total
        d_total = -(rows @ states.matrices[:, at]).mul_(d_num).div_(total).sum(-1, keepdim=True)
        d_rows = (d_num @ states.matrices[:, at].mT).add_(d_total * states.sums[:, at].mT)
        dq[:, run.tokens] += run.joined(phi.pull_back(x, rows, d_rows))
        made.matrices[:, at] += rows.mT @ d_num
        made.sums[:, at] += rows.mT @ d_total
    return made


Part = tuple[int, slice]  # batch entry and heads


def _heads(q: Tensor, k: Tensor) -> Iterator[tuple[Part, Part]]:
    """Parts of q and k: all their heads where tokens are few."""
    group = q.shape[1] // k.shape[1]
    step = max(1, RUN_ELEMENTS // (k.shape[2] * k.shape[3]))
    for batch in range(k.shape[0]):
        for start in range(0, k.shape[1], step):
            end = min(start + step, k.shape[1])
            yield (batch, slice(start * group, end * group)), (batch, slice(start, end))


def _runs(x: Tensor, block: int) -> Iterator[_Run]:
    """The tokens of x (heads, tokens, d), about RUN_ELEMENTS at a time."""
    heads, tokens, width = x.shape
    about = max(1, RUN_ELEMENTS // (heads * width))
    step = min(about, block) if tokens <= block else max(1, about // block) * block
    for start in range(0, tokens, step):
        end = min(start + step, tokens)
        yield _Run(
            tokens=slice(start, end),
            blocks=slice(start // block, num_blocks(end, block)),
            size=min(step, block),
        )


def _count(part: Part) -> int:
    return int(part[1].stop - part[1].start)


def _states(k: Tensor, v: Tensor, scope: Scope, phi: FeatureMap) -> States:
    """The states of the key blocks of some heads."""
    heads, blocks, d = k.shape[0], num_blocks(k.shape[1], scope.block_k), k.shape[2]
    made = States(
        torch.zeros(heads, blocks, d, d, dtype=at_least_float32(k), device=k.device),
        torch.zeros(heads, blocks, d, 1, dtype=at_least_float32(k), device=k.device),
    )
    for run in _runs(k, scope.block_k):
        features = run.inside(phi.map(run.cut(k)))
        made.matrices[:, run.blocks] += features.mT @ run.cut(v)
        made.sums[:, run.blocks] += features.sum(2)[..., None]
    return made


def _seen(own: States, weight: Tensor | None, scope: Scope, queries: int) -> States:
    """What each query block of some heads sees, (heads of q, query_blocks, ...)."""
    key_heads = own.matrices.shape[0]
    found = seen(own, weight, scope, queries // key_heads)
    return States(*(x.reshape(queries, -1, *x.shape[2:]) for x in found))


def _total(rows: Tensor, states: States, run: _Run, eps: float) -> Tensor:
    """The denominators; infinite where no key is in scope, so that the branch is zero there."""
    total = rows @ states.sums[:, run.blocks] + eps
    return torch.where(total == 0, torch.inf, total)
