"""Both branches as one operator, so that their gradients are summed in place.

What is kept for the backward pass beyond the caller's own tensors: the lists, one number a query
and, on a GPU, the sparse branch's output. On the CPU the backward pass makes that anew, batch by
batch, which costs a sixth more time and saves a tensor of the size of q.
"""

from typing import Any

import torch
from torch import Tensor

from sla_kernels.library import register, register_gradient
from sla_kernels.linear import op as linear
from sla_kernels.sparse import op as sparse

_REST = (
    "Tensor indices, Tensor counts, Tensor? negligible, Tensor? order, SymInt pinned, "
    "int block_q, int block_k, float scale, str scope, str feature_map, float eps, str backend"
)
_FORWARD = (
    "sla_forward(bool training, Tensor q, Tensor k, Tensor v, Tensor? weight, Tensor? bias, "
    f"{_REST}) -> (Tensor, Tensor, Tensor)"
)
_BACKWARD = (
    "sla_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor? weight, Tensor sparse, "
    f"Tensor lse, {_REST}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def linear_lists(
    scope: str, indices: Tensor, negligible: Tensor | None, order: Tensor | None, pinned: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None, int]:
    """What the linear branch leaves out: kept and negligible blocks, and pinned tokens."""
    if scope == "all":
        return None, None, None, 0
    return indices, negligible if scope == "marginal" else None, order, pinned


def keeps_sparse(training: bool, backend: str) -> bool:
    """Whether the sparse branch's output is kept for the backward pass."""
    return training and backend == "triton"


def forward(
    training: bool,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    indices: Tensor,
    counts: Tensor,
    negligible: Tensor | None,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    scale: float,
    scope: str,
    feature_map: str,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of both branches, the sparse branch and its log-sum-exp.

    Where the sparse branch is not kept, the sum takes its place and it is returned empty.
    """
    lists = (indices, counts, order, pinned, block_q, block_k)
    kept, lse = sparse.forward(q, k, v, *lists, scale, backend)
    left = linear_lists(scope, indices, negligible, order, pinned)
    rest = (*left, block_q, block_k, feature_map, eps, backend)
    keep = keeps_sparse(training, backend)
    out = linear.forward(q, k, v, weight, bias, kept, *rest, in_place=not keep)
    return out, kept if keep else kept.new_empty(0), lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    kept: Tensor,
    lse: Tensor,
    indices: Tensor,
    counts: Tensor,
    negligible: Tensor | None,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    scale: float,
    scope: str,
    feature_map: str,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate the sum of both branches in q, k, v, weight and bias."""
    lists = (indices, counts, order, pinned, block_q, block_k)
    made = sparse.backward(
        grad, q, k, v, kept if keeps_sparse(True, backend) else None, lse, *lists, scale, backend
    )
    left = linear_lists(scope, indices, negligible, order, pinned)
    rest = (*left, block_q, block_k, feature_map, eps, backend)
    return linear.backward(grad, q, k, v, weight, *rest, into=made)


def forward_fake(
    training: bool, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Say what `forward` returns, from shapes alone."""
    kept, lse = sparse.forward_fake(q, k, v)
    return q.new_empty(q.shape), kept if keeps_sparse(training, rest[-1]) else q.new_empty(0), lse


def backward_fake(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weight: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Say what `backward` returns, from shapes alone."""
    return linear.backward_fake(grad, q, k, v, weight)


def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    """Keep the inputs, one number a query and perhaps the sparse branch."""
    _, q, k, v, weight, bias, indices, counts, negligible, order, *ctx.rest = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(q, k, v, weight, *output[1:], indices, counts, negligible, order)


def differentiate(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    """Call the backward operator; only the sum is differentiable."""
    if grad is None:
        return (None,) * 18
    saved = ctx.saved_tensors  # checkpointing lets them be read once
    weight = saved[3]
    dq, dk, dv, d_weight, d_bias = torch.ops.sla_kernels.sla_backward(grad, *saved, *ctx.rest)
    return (
        None,
        dq,
        dk,
        dv,
        None if weight is None else d_weight.to(weight.dtype),
        None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype),
        *(None,) * 12,
    )


register(_FORWARD, forward, forward_fake)
register(_BACKWARD, backward, backward_fake)
register_gradient("sla_forward", differentiate, save)
