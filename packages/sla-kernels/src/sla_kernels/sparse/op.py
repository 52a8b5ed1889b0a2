"""The sparse branch as operators known to PyTorch: fake shapes, gradients, token order."""

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from sla_kernels.runtime.library import register, register_gradient
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.lists import BlockLists, every_block
from sla_kernels.sparse import eager


def kernels_of(backend: str) -> ModuleType:
    """The module that holds a backend's `sparse_attention_forward` and `_backward`."""
    return import_module("sla_kernels.sparse.launch") if backend == "triton" else eager


def sparse_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, lists: BlockLists, scale: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the output and its log-sum-exp; pinned queries go apart, over every block."""
    run = kernels_of(backend).sparse_attention_forward
    if lists.order is None:
        out, lse = run(q, k, v, lists, scale)
        return out, lse
    free = q.shape[2] - lists.pinned
    q, k, v = (x.index_select(2, lists.order) for x in (q, k, v))
    blocks = run(q[:, :, :free], k, v, lists, scale)
    rows = run(q[:, :, free:], k, v, every_block(lists, lists.pinned, free), scale)
    back = lists.order.argsort()
    out, lse = (torch.cat(pair, 2).index_select(2, back) for pair in zip(blocks, rows, strict=True))
    return out, lse


def sparse_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    lse: Tensor,
    lists: BlockLists,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v; on the CPU it may do without the output."""
    run = kernels_of(backend).sparse_attention_backward
    if lists.order is None:
        dq, dk, dv = run(grad, q, k, v, out, lse, lists, scale)
        return dq, dk, dv
    free, back = q.shape[2] - lists.pinned, lists.order.argsort()
    parts: list[tuple[Tensor | None, Tensor | None]] = [
        (None, None) if x is None else x.index_select(2, lists.order).split([free, lists.pinned], 2)
        for x in (grad, q, out, lse)
    ]
    k, v = (x.index_select(2, lists.order) for x in (k, v))
    (grad_b, q_b, *rest_b), (grad_r, q_r, *rest_r) = zip(*parts, strict=True)
    blocks = run(grad_b, q_b, k, v, *rest_b, lists, scale)
    rows = run(grad_r, q_r, k, v, *rest_r, every_block(lists, lists.pinned, free), scale)
    dq, dk, dv = torch.cat([blocks[0], rows[0]], 2), blocks[1] + rows[1], blocks[2] + rows[2]
    return dq.index_select(2, back), dk.index_select(2, back), dv.index_select(2, back)


def fake_forward(q: Tensor) -> tuple[Tensor, Tensor]:
    """Say what the forward operator returns, from shapes alone."""
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=at_least_float32(q))


def fake_backward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Say what the backward operator returns, from shapes alone."""
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


register(sparse_attention_forward, fake_forward)
register(sparse_attention_backward, fake_backward)
register_gradient(
    sparse_attention_forward,
    sparse_attention_backward,
    outputs=("out", "lse"),
    wrt=("q", "k", "v"),
)
