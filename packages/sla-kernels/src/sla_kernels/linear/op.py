"""The linear branch as operators known to PyTorch: fake shapes, autograd, token order."""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels.library import register, register_gradient
from sla_kernels.linear import eager
from sla_kernels.linear.scope import Scope

_REST = (
    "Tensor? kept, Tensor? negligible, Tensor? order, SymInt pinned, int block_q, int block_k, "
    "str feature_map, float eps, str backend"
)
_FORWARD = (
    f"linear_forward(Tensor q, Tensor k, Tensor v, Tensor? weight, Tensor? bias, {_REST}) -> Tensor"
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
    in_place: bool = False,
) -> Tensor:
    """Add the linear branch to base; pinned tokens, where named, are in nobody's scope."""
    run = kernels_of(backend).linear_forward
    scope = scope_of(q, k, kept, negligible, block_q, block_k)
    if order is None:
        out: Tensor = run(q, k, v, weight, bias, base, scope, feature_map, eps, in_place)
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
    into: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate `forward`; the gradients of q, k and v are added to `into` if given."""
    run = kernels_of(backend).linear_backward
    scope = scope_of(q, k, kept, negligible, block_q, block_k)
    sums = torch.float64 if q.dtype == torch.float64 else torch.float32
    d_bias = q.new_empty(0) if weight is None else sum_of_tokens(grad, sums)
    if order is None:
        return (*run(grad, q, k, v, weight, scope, feature_map, eps, into), d_bias)
    inside = order[: q.shape[2] - pinned]
    grad, q, k, v = (x.index_select(2, inside) for x in (grad, q, k, v))
    *found, d_weight = run(grad, q, k, v, weight, scope, feature_map, eps)
    back = order.argsort()
    made = [F.pad(x, (0, 0, 0, pinned)).index_select(2, back) for x in found]
    if into is not None:
        made = [x.add_(y) for x, y in zip(into, made, strict=True)]
    return made[0], made[1], made[2], d_weight, d_bias


def sum_of_tokens(grad: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum (b, h, n, d) over all but d; on the CPU, where a copy comes first, a part at a time."""
    if grad.device.type != "cpu":
        return grad.sum((0, 1, 2), dtype=dtype)
    parts = (x for head in grad.unbind(1) for x in head.split(1024, 1))
    return torch.stack([x.sum((0, 1), dtype=dtype) for x in parts]).sum(0)


def alone(
    q: Tensor, k: Tensor, v: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any
) -> Tensor:
    """Run the linear branch by itself."""
    return forward(q, k, v, weight, bias, None, *rest)


def alone_fake(q: Tensor, *rest: Any) -> Tensor:
    """Say what `alone` returns, from shapes alone."""
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
    q, k, v, weight, bias, kept, negligible, order, *ctx.rest = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(q, k, v, weight, kept, negligible, order)


def differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Call the backward operator."""
    saved = ctx.saved_tensors  # checkpointing lets them be read once
    weight = saved[3]
    dq, dk, dv, d_weight, d_bias = torch.ops.sla_kernels.linear_backward(grad, *saved, *ctx.rest)
    return (
        dq,
        dk,
        dv,
        None if weight is None else d_weight.to(weight.dtype),
        None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype),
        *(None,) * 9,
    )


register(_FORWARD, alone, alone_fake)
register(_BACKWARD, backward, backward_fake)
register_gradient("linear_forward", differentiate, save)
