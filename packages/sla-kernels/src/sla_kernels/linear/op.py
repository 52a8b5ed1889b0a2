"""The linear branch as operators known to PyTorch: fake shapes, gradients, token order."""

from importlib import import_module
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels.linear import eager
from sla_kernels.linear.rule import Rule
from sla_kernels.linear.scope import Scope
from sla_kernels.runtime.library import register, register_gradient
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.lists import BlockLists


def kernels_of(backend: str) -> ModuleType:
    """The module that holds a backend's `linear_attention_forward` and `_backward`."""
    return import_module("sla_kernels.linear.launch") if backend == "triton" else eager


def linear_attention_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    lists: BlockLists,
    rule: Rule,
    backend: str,
    *,
    base: Tensor | None = None,
    in_place: bool = False,
) -> Tensor:
    """Return the linear branch, projected as far as weight and bias are given.

    It is added to `base` if given, in its memory with `in_place`. Pinned tokens are in nobody's
    scope but "all".
    """
    run = kernels_of(backend).linear_attention_forward
    scope = Scope.of(rule, lists, q.shape[2], k.shape[2])
    if lists.order is None or rule.scope == "all":
        out: Tensor = run(q, k, v, weight, bias, base, scope, rule, in_place)
        return out
    free = lists.order[: q.shape[2] - lists.pinned]
    q, k, v = (x.index_select(2, free) for x in (q, k, v))
    blocks = run(q, k, v, weight, bias, None, scope, rule)
    rows = blocks.new_zeros(*blocks.shape[:2], lists.pinned, blocks.shape[3])
    if bias is not None:
        rows += bias
    out = torch.cat([blocks, rows], 2).index_select(2, lists.order.argsort())
    return out if base is None else out.add_(base)


def linear_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    lists: BlockLists,
    rule: Rule,
    backend: str,
    *,
    into: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v (added to `into` if given), weight and bias."""
    run = kernels_of(backend).linear_attention_backward
    scope = Scope.of(rule, lists, q.shape[2], k.shape[2])
    d_bias = q.new_empty(0) if weight is None else sum_of_tokens(grad)
    if lists.order is None or rule.scope == "all":
        return (*run(grad, q, k, v, weight, scope, rule, into), d_bias)
    free = lists.order[: q.shape[2] - lists.pinned]
    grad, q, k, v = (x.index_select(2, free) for x in (grad, q, k, v))
    *found, d_weight = run(grad, q, k, v, weight, scope, rule)
    back = lists.order.argsort()
    made = [F.pad(x, (0, 0, 0, lists.pinned)).index_select(2, back) for x in found]
    if into is not None:
        made = [x.add_(y) for x, y in zip(into, made, strict=True)]
    return made[0], made[1], made[2], d_weight, d_bias


def sum_of_tokens(grad: Tensor) -> Tensor:
    """Sum (b, h, n, d) over all but d; on the CPU, where a copy comes first, a part at a time."""
    dtype = at_least_float32(grad)
    if grad.device.type != "cpu":
        return grad.sum((0, 1, 2), dtype=dtype)
    parts = (x for head in grad.unbind(1) for x in head.split(1024, 1))
    return torch.stack([x.sum((0, 1), dtype=dtype) for x in parts]).sum(0)


def fake_forward(q: Tensor) -> Tensor:
    """Say what the forward operator returns, from shapes alone."""
    return q.new_empty(q.shape)


def fake_backward(
    q: Tensor, k: Tensor, v: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Say what the backward operator returns, from shapes alone."""
    made = [x.new_empty(x.shape) for x in (q, k, v)]
    sizes = ((0,), (0,)) if weight is None else (weight.shape, weight.shape[:1])
    dtype = q.dtype if weight is None else at_least_float32(q)
    d_weight, d_bias = (q.new_empty(size, dtype=dtype) for size in sizes)
    return made[0], made[1], made[2], d_weight, d_bias


register(linear_attention_forward, fake_forward)
register(linear_attention_backward, fake_backward)
register_gradient(
    linear_attention_forward,
    linear_attention_backward,
    outputs=("out",),
    wrt=("q", "k", "v", "weight", "bias"),
)
