"""Floating-point operations of this package's operators, registered with PyTorch's counter.

Counted as PyTorch counts: matrix products alone, a multiply-add as two. Sums of states, softmax
and feature maps count as nothing.

- Sparse branch: 4 d for each pair of query and key that is attended, 10 d in the backward pass,
  where scores are made anew: what PyTorch counts for dense attention, so that keeping every block
  costs exactly that. Pairs are read from the lists, not bounded by their shapes: lists differ in
  length, and the last blocks are shorter. On an accelerator this waits for the device. Lists that
  hold no data, of fake and meta tensors, count as full.
- Linear branch: phi(k)^T v for each key, the projection of each state, phi(q) times state and
  times sum for each query; in the backward pass the states again, and two gradients a product.
- Selection: the products of block means.
- Listed rows: as the sparse branch, a listed row counting as a key; pinned queries read every key.
- Order: the turns of the direction along which each segment is cut.
- Choice of rows: the order and its features, the products of mean queries and mean keys, and of the
  queries that coarse cells are asked by and keys.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import register_flop_formula

from sla_kernels.linear.op import linear_attention_backward, linear_attention_forward
from sla_kernels.linear.rule import Rule
from sla_kernels.op import sla_attention_backward, sla_attention_forward
from sla_kernels.order.median import TURNS
from sla_kernels.order.op import halve_tokens
from sla_kernels.order.plan import halvings
from sla_kernels.runtime.library import gathered
from sla_kernels.search.choose import Plan, choose_rows
from sla_kernels.search.walk import part_of
from sla_kernels.select.blocks import block_sizes, num_blocks
from sla_kernels.select.lists import BlockLists
from sla_kernels.select.op import Settings, scores_nothing, select_blocks
from sla_kernels.select.scores import SUBBLOCKS
from sla_kernels.sparse.dense import attend_all
from sla_kernels.sparse.op import sparse_attention_backward, sparse_attention_forward
from sla_kernels.summary.layout import Layout, RowLists, budget_of
from sla_kernels.summary.op import summary_attention_backward, summary_attention_forward


def _sparse(*, products: int, q: Tensor, k: Tensor, lists: BlockLists, **_: object) -> int:
    return 2 * products * attended_pairs(q, k, lists) * q.shape[3]


def _all(*, q: Tensor, k: Tensor, **_: object) -> int:
    return 4 * q.numel() * k.shape[2]


def _linear(
    *,
    products: int,
    sums: int,
    q: Tensor,
    k: Tensor,
    weight: Tensor | None,
    lists: BlockLists,
    rule: Rule,
    **_: object,
) -> int:
    """There is one state a head, or one a block of keys where some are out of scope."""
    whole, d = rule.scope == "all", q.shape[3]
    pinned = 0 if whole else lists.pinned
    queries = q.shape[0] * q.shape[1] * (q.shape[2] - pinned)
    heads, free = k.shape[0] * k.shape[1], k.shape[2] - pinned
    states = heads * (1 if whole else num_blocks(free, lists.block_k))
    projected = 0 if weight is None else states * d**3
    return 2 * (products * (heads * free * d**2 + projected + queries * d**2) + sums * queries * d)


def _forward(**given: Any) -> int:
    return _sparse(products=2, **given) + _linear(products=1, sums=1, **given)


def _backward(**given: Any) -> int:
    return _sparse(products=5, **given) + _linear(products=3, sums=2, **given)


def _selection(*, q: Tensor, k: Tensor, how: Settings) -> int:
    if scores_nothing(k, how):
        return 0
    parts = SUBBLOCKS if how.estimator == "subblock_lse" else 1
    rows, columns = (
        num_blocks(q.shape[2], how.block_q // parts),
        num_blocks(k.shape[2], how.block_k // parts),
    )
    return 2 * q.shape[0] * q.shape[1] * rows * columns * q.shape[3]


def attended_pairs(q: Tensor, k: Tensor, lists: BlockLists) -> int:
    """Pairs of query and key that the lists keep, pinned tokens included, over all heads."""
    free_q, free_k = q.shape[2] - lists.pinned, k.shape[2] - lists.pinned
    of_pinned = q.shape[0] * q.shape[1] * lists.pinned * k.shape[2]
    if lists.indices.is_meta or isinstance(lists.indices, FakeTensor):
        most = min(free_k, lists.indices.shape[3] * lists.block_k)
        return q.shape[0] * q.shape[1] * free_q * (most + lists.pinned) + of_pinned
    key_blocks = num_blocks(free_k, lists.block_k)
    ends_short = lists.indices.amax(-1) == key_blocks - 1
    missing = key_blocks * lists.block_k - free_k
    kept = lists.counts.long() * lists.block_k - ends_short * missing + lists.pinned
    return int((kept * block_sizes(free_q, lists.block_q, kept.device)).sum()) + of_pinned


def _rows(*, products: int, q: Tensor, k: Tensor, lists: RowLists, **_: object) -> int:
    own = q.shape[2] == k.shape[2]
    pinned = lists.outside.shape[0] if own else 0
    pairs = (q.shape[2] - pinned) * lists.rows.shape[3] + pinned * k.shape[2]
    return 2 * products * q.shape[0] * q.shape[1] * pairs * q.shape[3]


def _order(*, features: Tensor, sizes: tuple[int, ...]) -> int:
    """The turns of each segment's direction."""
    return _turns(features.shape[0] * features.shape[1], features.shape[1:], sizes)


def _turns(rows: int, tokens_and_axes: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    tokens, axes = tokens_and_axes
    return 2 * TURNS * len(halvings(tokens, sizes)) * rows * axes


def _choice_of_rows(
    *,
    q: Tensor,
    k: Tensor,
    outside: Tensor,
    directions: Tensor | None,
    given: Tensor | None,
    plan: Plan,
    **_: object,
) -> int:
    layout = Layout(k.shape[2] - outside.shape[0], outside.shape[0], tuple(plan.sizes))
    budget = budget_of(plan.exact, plan.opened, layout)
    scored = sum(budget.candidates) + layout.pinned
    axes = plan.axes if directions is None else directions.shape[1]
    ordered = plan.content and given is None
    features = 2 * k.numel() * axes if ordered else 0
    if ordered:
        rows = k.shape[0] * layout.tokens
        features += _turns(rows, (layout.tokens, axes), layout.sizes)
    parts = num_blocks(q.shape[2], part_of(plan.block_q))
    tilts = k.shape[0] * k.shape[1] * layout.padded * q.shape[3]
    scores = q.shape[0] * q.shape[1] * parts * scored * q.shape[3]
    return features + 2 * (tilts + scores)


FORMULAS: dict[Callable[..., Any], Callable[..., int]] = {
    select_blocks: _selection,
    attend_all: _all,
    sparse_attention_forward: partial(_sparse, products=2),
    sparse_attention_backward: partial(_sparse, products=5),
    linear_attention_forward: partial(_linear, products=1, sums=1),
    linear_attention_backward: partial(_linear, products=3, sums=2),
    sla_attention_forward: _forward,
    sla_attention_backward: _backward,
    halve_tokens: _order,
    choose_rows: _choice_of_rows,
    summary_attention_forward: partial(_rows, products=2),
    summary_attention_backward: partial(_rows, products=5),
}


def _register(run: Callable[..., Any], formula: Callable[..., int]) -> None:
    def count(*args: Any, out_val: object = None) -> int:
        return formula(**gathered(run, args))

    operator = getattr(torch.ops.sla_kernels, run.__name__)
    register_flop_formula(operator, get_raw=True)(count)


for _run, _formula in FORMULAS.items():
    _register(_run, _formula)
