"""The linear branch as operators known to PyTorch: fake shapes, autograd, token order."""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sla_kernels.library import register, register_gradient
from sla_kernels.linear import eager
from sla_kernels.linear.scope import Scope

_REST = (
    "Tensor? kept, Tensor? negligible, Tensor? order, SymInt pinned, int block_q, int block_k, "
    "str feature_map, float eps, str backend"
)
_FORWARD = (
    "linear_forward(Tensor q, Tensor k, Tensor v, Tensor? weight, Tensor? bias, Tensor? base, "
    f"{_REST}) -> Tensor"
)
_BACKWARD = (
    "linear_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor? weight, "
    f"{_REST}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def kernels_of(backend: str) -> ModuleType:
    """The module that holds `linear_forward` and `linear_backward` of a backend."""
    return import_module("sla_kernels.linear.launch") if backend == "triton" else eager


def scope_of(
    q: Tensor,
    k: Tensor,
    kept: Tensor | None,
    negligible: Tensor | None,
    block_q: int,
    block_k: int,
) -> Scope:
    """Blocks as selected where some are out of scope; else one block of everything."""
    skipped = tuple(x for x in (kept, negligible) if x is not None)
    if skipped:
        return Scope(block_q=block_q, block_k=block_k, skipped=skipped)
    return Scope(block_q=q.shape[2], block_k=k.shape[2])


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    base: Tensor | None,
    kept: Tensor | None,
    negligible: Tensor | None,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    feature_map: str,
    eps: float,
    backend: str,
) -> Tensor:
    """Add the linear branch to base; pinned tokens, where named, are in nobody's scope."""
    run = kernels_of(backend).linear_forward
    scope = scope_of(q, k, kept, negligible, block_q, block_k)
    if order is None:
        out: Tensor = run(q, k, v, weight, bias, base, scope, feature_map, eps)
        return out
    free = q.shape[2] - pinned
    q, k, v = (x.index_select(2, order[:free]) for x in (q, k, v))
    blocks = run(q, k, v, weight, bias, None, scope, feature_map, eps)
    rows = blocks.new_zeros(*blocks.shape[:2], pinned, blocks.shape[3])
    if bias is not None:
        rows += bias
    out = torch.cat([blocks, rows], 2).index_select(2, order.argsort())
    return out if base is None else out.add_(base)


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    kept: Tensor | None,
    negligible: Tensor | None,
    order: Tensor | None,
    pinned: int,
    block_q: int,
    block_k: int,
    feature_map: str,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate `forward`."""
    run = kernels_of(backend).linear_backward
    scope = scope_of(q, k, kept, negligible, block_q, block_k)
    sums = torch.float64 if q.dtype == torch.float64 else torch.float32
    d_bias = q.new_empty(0) if weight is None else grad.sum((0, 1, 2), dtype=sums)
    if order is None:
        return (*run(grad, q, k, v, weight, scope, feature_map, eps), d_bias)
    inside = order[: q.shape[2] - pinned]
    grad, q, k, v = (x.index_select(2, inside) for x in (grad, q, k, v))
    *found, d_weight = run(grad, q, k, v, weight, scope, feature_map, eps)
    back = order.argsort()
    padded = [torch.nn.functional.pad(x, (0, 0, 0, pinned)).index_select(2, back) for x in found]
    return padded[0], padded[1], padded[2], d_weight, d_bias


def forward_fake(q: Tensor, *rest: Any) -> Tensor:
    """Say what `forward` returns, from shapes alone."""
    return q.new_empty(q.shape)


def backward_fake(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weight: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Say what `backward` returns, from shapes alone."""
    made = [x.new_empty(x.shape) for x in (q, k, v)]
    if weight is None:
        return made[0], made[1], made[2], q.new_empty(0), q.new_empty(0)
    sums = torch.float64 if q.dtype == torch.float64 else torch.float32
    d_weight, d_bias = (q.new_empty(size, dtype=sums) for size in (weight.shape, weight.shape[:1]))
    return made[0], made[1], made[2], d_weight, d_bias


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep for the backward pass what the caller owns anyway."""
    q, k, v, weight, bias, base, kept, negligible, order, *ctx.rest = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.has_base = base is not None
    ctx.save_for_backward(q, k, v, weight, kept, negligible, order)


def differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Call the backward operator."""
    weight = ctx.saved_tensors[3]
    dq, dk, dv, d_weight, d_bias = torch.ops.sla_kernels.linear_backward(
        grad, *ctx.saved_tensors, *ctx.rest
    )
    return (
        dq,
        dk,
        dv,
        None if weight is None else d_weight.to(weight.dtype),
        None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype),
        grad if ctx.has_base else None,
        *(None,) * 9,
    )


register(_FORWARD, forward, forward_fake)
register(_BACKWARD, backward, backward_fake)
register_gradient("linear_forward", differentiate, save)
