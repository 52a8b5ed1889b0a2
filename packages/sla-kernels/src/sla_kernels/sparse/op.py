"""The sparse branch as operators known to PyTorch: fake shapes, autograd, token order."""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sla_kernels.library import register, register_gradient
from sla_kernels.sparse import eager
from sla_kernels.sparse.lists import BlockLists, every_block

_LISTS = (
    "Tensor indices, Tensor counts, Tensor? order, SymInt pinned, int block_q, int block_k, "
    "float scale, str backend"
)
_FORWARD = f"sparse_forward(Tensor q, Tensor k, Tensor v, {_LISTS}) -> (Tensor, Tensor)"
_BACKWARD = (
    "sparse_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
    f"{_LISTS}) -> (Tensor, Tensor, Tensor)"
)


def kernels_of(backend: str) -> ModuleType:
    """The module that holds `sparse_forward` and `sparse_backward` of a backend."""
    return import_module("sla_kernels.sparse.launch") if backend == "triton" else eager


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    counts: Tensor,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Run the sparse branch; pinned queries go apart, over every block."""
    run = kernels_of(backend).sparse_forward
    lists = BlockLists(
        indices=indices, counts=counts, block_q=block_q, block_k=block_k, pinned=pinned
    )
    if order is None:
        out, lse = run(q, k, v, lists, scale)
        return out, lse
    free = q.shape[2] - pinned
    q, k, v = (x.index_select(2, order) for x in (q, k, v))
    blocks = run(q[:, :, :free], k, v, lists, scale)
    rows = run(q[:, :, free:], k, v, every_block(lists, pinned, free), scale)
    back = order.argsort()
    out, lse = (torch.cat(pair, 2).index_select(2, back) for pair in zip(blocks, rows, strict=True))
    return out, lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    lse: Tensor,
    indices: Tensor,
    counts: Tensor,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate `forward`; on the CPU it may do without the output."""
    run = kernels_of(backend).sparse_backward
    lists = BlockLists(
        indices=indices, counts=counts, block_q=block_q, block_k=block_k, pinned=pinned
    )
    if order is None:
        dq, dk, dv = run(grad, q, k, v, out, lse, lists, scale)
        return dq, dk, dv
    free, back = q.shape[2] - pinned, order.argsort()
    parts: list[tuple[Tensor | None, Tensor | None]] = [
        (None, None) if x is None else x.index_select(2, order).split([free, pinned], 2)
        for x in (grad, q, out, lse)
    ]
    k, v = (x.index_select(2, order) for x in (k, v))
    (grad_b, q_b, *rest_b), (grad_r, q_r, *rest_r) = zip(*parts, strict=True)
    blocks = run(grad_b, q_b, k, v, *rest_b, lists, scale)
    rows = run(grad_r, q_r, k, v, *rest_r, every_block(lists, pinned, free), scale)
    dq, dk, dv = torch.cat([blocks[0], rows[0]], 2), blocks[1] + rows[1], blocks[2] + rows[2]
    return dq.index_select(2, back), dk.index_select(2, back), dv.index_select(2, back)


def forward_fake(q: Tensor, k: Tensor, v: Tensor, *lists: Any) -> tuple[Tensor, Tensor]:
    """Say what `forward` returns, from shapes alone."""
    lse_dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=lse_dtype)


def backward_fake(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Say what `backward` returns, from shapes alone."""
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep for the backward pass the inputs, the output and one number a query."""
    q, k, v, indices, counts, order, *ctx.rest = inputs
    ctx.save_for_backward(q, k, v, *output, indices, counts, order)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])


def differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    """Call the backward operator; the log-sum-exp is not differentiable."""
    if grad is None:
        return (None,) * 11
    grads = torch.ops.sla_kernels.sparse_backward(grad, *ctx.saved_tensors, *ctx.rest)
    return (*grads, *(None,) * 8)


register(_FORWARD, forward, forward_fake)
register(_BACKWARD, backward, backward_fake)
register_gradient("sparse_forward", differentiate, save)
