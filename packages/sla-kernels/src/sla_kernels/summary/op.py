"""Listed rows as operators known to PyTorch: from the caller's tokens to the caller's output."""

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from sla_kernels.runtime.library import register, register_gradient
from sla_kernels.summary import eager
from sla_kernels.summary.layout import Layout
from sla_kernels.summary.reference import summary_reference
from sla_kernels.summary.rows import Rows, back_to_tokens, permuted, rows_of
from sla_kernels.summary.weights import Weights, weights_of


class RowLists(NamedTuple):
    """A selection, as the operators take it: see `SummarySelection`."""

    order: Tensor
    rows: Tensor
    tilt: Tensor
    outside: Tensor
    block_q: int
    sizes: tuple[int, ...]


class _Work(NamedTuple):
    """What both passes start from."""

    layout: Layout
    weights: Weights
    rows: Rows
    own: bool  # queries are the tokens that are ordered, and take part in the order


def kernels_of(backend: str) -> ModuleType:
    """The module that holds a backend's `summary_attention_forward` and `_backward`."""
    return import_module("sla_kernels.summary.launch") if backend == "triton" else eager


def summary_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, lists: RowLists, scale: float, backend: str
) -> Tensor:
    """Return softmax over listed rows for ordinary queries, over every key for pinned ones."""
    work = _work(q, k, v, lists)
    queries = permuted(q, lists.order) if work.own else q
    if backend == "reference":
        found = summary_reference(queries, work.rows, lists.rows, lists.block_q, scale)
    else:
        run = kernels_of(backend).summary_attention_forward
        found = run(queries, work.rows, lists.rows, lists.block_q, scale)
    if not work.own:
        return found
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    for part, here, made in zip(out, lists.order, found, strict=True):
        part.index_copy_(1, here, made)
    if lists.outside.shape[0]:
        out.index_copy_(2, lists.outside, _of_pinned(q, k, v, lists.outside, scale))
    return out


def summary_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, lists: RowLists, scale: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v; the choice of rows and weights is constant."""
    work = _work(q, k, v, lists)
    queries, grads = (permuted(x, lists.order) if work.own else x for x in (q, grad))
    run = kernels_of(backend).summary_attention_backward
    dq, *d_rows = run(grads, queries, work.rows, lists.rows, lists.block_q, scale)
    dk, dv = (
        back_to_tokens(x, lists.order, lists.outside, work.weights, work.layout, like)
        for x, like in zip(d_rows, (k, v), strict=True)
    )
    if not work.own:
        return dq, dk.to(k.dtype), dv.to(v.dtype)
    whole = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    for part, here, made in zip(whole, lists.order, dq, strict=True):
        part.index_copy_(1, here, made)
    if lists.outside.shape[0]:
        more = _pull_back_pinned(grad, q, k, v, lists.outside, scale)
        whole.index_copy_(2, lists.outside, more[0])
        dk, dv = dk + more[1], dv + more[2]
    return whole, dk.to(k.dtype), dv.to(v.dtype)


def _work(q: Tensor, k: Tensor, v: Tensor, lists: RowLists) -> _Work:
    pinned = lists.outside.shape[0]
    layout = Layout(k.shape[2] - pinned, pinned, tuple(lists.sizes))
    weights = weights_of(lists.tilt, layout)
    rows = rows_of(k, v, lists.order, lists.outside, weights, layout)
    return _Work(layout, weights, rows, q.shape[2] == k.shape[2])


def _of_pinned(q: Tensor, k: Tensor, v: Tensor, outside: Tensor, scale: float) -> Tensor:
    """Dense attention of the pinned queries."""
    group = q.shape[1] // k.shape[1]
    k, v = (repeat(x, "b g m d -> b (g r) m d", r=group) if group > 1 else x for x in (k, v))
    return F.scaled_dot_product_attention(q.index_select(2, outside), k, v, scale=scale)


def _pull_back_pinned(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, outside: Tensor, scale: float
) -> tuple[Tensor, ...]:
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    with torch.enable_grad():
        out = _of_pinned(q, k, v, outside, scale)
        found = torch.autograd.grad(out, (q, k, v), grad.index_select(2, outside))
    return found[0].index_select(2, outside), found[1], found[2]


def fake_forward(q: Tensor, *_: object) -> Tensor:
    """Say what the forward operator returns, from shapes alone."""
    return q.new_empty(q.shape)


def fake_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    """Say what the backward operator returns, from shapes alone."""
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


register(summary_attention_forward, fake_forward)
register(summary_attention_backward, fake_backward)
register_gradient(
    summary_attention_forward, summary_attention_backward, outputs=("out",), wrt=("q", "k", "v")
)
