"""Floating-point operations of sla_kernels' operators, which PyTorch's counter does not know.

Counted as PyTorch counts: matrix products alone, a multiply-add as two. Sums of states, softmax,
feature maps and rounding to FP8 count as nothing; FP8 products are PyTorch's own operators.

- Sparse branch: 4 d for each pair of query and key that is attended, 10 d in the backward pass,
  where scores are made anew: what PyTorch counts for dense attention, so that keeping every block
  costs exactly that. Pairs are read from the lists, not bounded by their shapes: lists differ in
  length, and the last blocks are shorter. On an accelerator this waits for the device.
- Linear branch: phi(k)^T v for each key, the projection of each state, phi(q) times state and
  times sum for each query; in the backward pass the states again, and two gradients a product.
- Selection: the products of block means.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sla_kernels import BlockSelection

Formula = Callable[..., int]
SUBBLOCKS = 4  # a side of a block, in the estimator "subblock_lse"


def formulas() -> dict[object, Formula]:
    """Return a formula for every operator of sla_kernels, as `efficiency.count_flops` takes them.

    A formula is called with the operator's arguments.
    """
    linear = partial(_linear, products=1, sums=1)
    linear_backward = partial(_linear, products=3, sums=2)
    found: dict[str, Formula] = {
        "sparse_forward": partial(_sparse, products=2),
        "sparse_backward": partial(_sparse, products=5),
        "linear_forward": linear,
        "linear_backward": linear_backward,
        "sla_forward": partial(_both, exact=partial(_sparse, products=2), rest=linear),
        "sla_backward": partial(_both, exact=partial(_sparse, products=5), rest=linear_backward),
        "select_blocks": _selection,
    }
    operators = {name: getattr(torch.ops.sla_kernels, name) for name in found}
    return {operators[name]: partial(_by_name, operators[name], found[name]) for name in found}


def _by_name(operator: Any, formula: Formula, *args: Any, **kwargs: Any) -> int:
    names = [argument.name for argument in operator.default._schema.arguments]
    return formula(**dict(zip(names, args, strict=False)), **kwargs)


def _sparse(
    *,
    products: int,
    q: Tensor,
    k: Tensor,
    indices: Tensor,
    counts: Tensor,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    **_: object,
) -> int:
    made = BlockSelection(
        indices=indices,
        counts=counts,
        block=(block_q, block_k),
        num_queries=q.shape[2],
        num_keys=k.shape[2],
        pinned=None if order is None else order[q.shape[2] - pinned :],
    )
    pairs = round(made.density * q.shape[:3].numel() * k.shape[2])
    return 2 * products * pairs * q.shape[3]


def _linear(
    *,
    products: int,
    sums: int,
    q: Tensor,
    k: Tensor,
    weight: Tensor | None,
    kept: Tensor | None,
    pinned: int,
    block_k: int,
    **_: object,
) -> int:
    queries, keys, states, d = _sizes(q, k, kept, pinned, block_k)
    projected = 0 if weight is None else states * d**3
    return 2 * (products * (keys * d**2 + projected + queries * d**2) + sums * queries * d)


def _sizes(
    q: Tensor, k: Tensor, kept: Tensor | None, pinned: int, block_k: int
) -> tuple[int, int, int, int]:
    """Queries, keys and states of all heads, and the head width.

    There is one state a head, or one a block of keys where lists keep some out of scope.
    """
    heads, free = k.shape[0] * k.shape[1], k.shape[2] - pinned
    states = heads * (1 if kept is None else _blocks(free, block_k))
    queries = q.shape[0] * q.shape[1] * (q.shape[2] - pinned)
    return queries, heads * free, states, q.shape[3]


def _both(
    *, exact: Formula, rest: Formula, scope: str, indices: Tensor, pinned: int, **more: Any
) -> int:
    everything = scope == "all"
    seen = {"kept": None if everything else indices, "pinned": 0 if everything else pinned}
    return exact(indices=indices, pinned=pinned, **more) + rest(**seen, **more)


def _selection(
    *, q: Tensor, k: Tensor, block_q: int, block_k: int, estimator: str, **_: object
) -> int:
    parts = SUBBLOCKS if estimator == "subblock_lse" else 1
    rows, columns = _blocks(q.shape[2], block_q // parts), _blocks(k.shape[2], block_k // parts)
    return 2 * q.shape[0] * q.shape[1] * rows * columns * q.shape[3]


def _blocks(tokens: int, size: int) -> int:
    return -(-tokens // size)
