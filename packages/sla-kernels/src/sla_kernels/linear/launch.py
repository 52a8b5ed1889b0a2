"""Launch the Triton kernels of the linear branch; what is d by d goes through PyTorch."""

import torch
from torch import Tensor

from sla_kernels.linear.kernels import (
    _linear_bwd_kv_kernel,
    _linear_bwd_q_kernel,
    _linear_fwd_kernel,
    _linear_state_kernel,
)
from sla_kernels.linear.scope import Scope
from sla_kernels.select.blocks import num_blocks
from sla_kernels.tiles import Tile, linear_tile, vendor
from sla_kernels.triton_runtime import next_power

SPANS = 64  # programs that share the tokens of a head where the scope has no blocks


def linear_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    base: Tensor | None,
    scope: Scope,
    feature_map: str,
    eps: float,
) -> Tensor:
    """Return base plus the linear branch, projected by weight and bias, as far as given."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    states, sums = _states(k, v, scope, feature_map)
    states, sums = _in_scope(_projected(states, weight), sums, scope, q.shape[1] // k.shape[1])
    tile = _tile(q, scope, scope.block_q)
    rows = num_blocks(q.shape[2], scope.block_q)
    _linear_fwd_kernel[(num_blocks(q.shape[2], tile.m), q.shape[0] * q.shape[1])](
        q,
        states,
        sums,
        q if bias is None else bias,
        q if base is None else base,
        out,
        *q.stride(),
        *(q if base is None else base).stride(),
        q.shape[2],
        q.shape[1],
        q.shape[1] // k.shape[1],
        rows,
        eps,
        BLOCK_Q=scope.block_q if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        HAS_BIAS=bias is not None,
        HAS_BASE=base is not None,
        **_constants(q, feature_map),
        TILE=tile.m,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return out


def linear_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    scope: Scope,
    feature_map: str,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v and weight (empty without a weight)."""
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    group, own = q.shape[1] // k.shape[1], _states(k, v, scope, feature_map)
    states, sums = _in_scope(_projected(own[0], weight), own[1], scope, group)
    tile = _tile(q, scope, scope.block_q)
    span, spans = _spans(q.shape[2], scope.block_q, scope)
    d_states, d_sums = _empty_states(q, spans)
    _linear_bwd_q_kernel[(spans, q.shape[0] * q.shape[1])](
        grad,
        q,
        states,
        sums,
        dq,
        d_states,
        d_sums,
        *grad.stride(),
        *q.stride(),
        q.shape[2],
        q.shape[1],
        group,
        span,
        spans,
        eps,
        SCOPED=bool(scope.skipped),
        **_constants(q, feature_map),
        TILE=tile.m,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    key_blocks = num_blocks(k.shape[2], scope.block_k)
    heads = k.shape[0] * k.shape[1]
    d_states, d_sums = (
        scope.unmix(x.reshape(heads, -1, *x.shape[2:]), key_blocks) for x in (d_states, d_sums)
    )
    d_weight = q.new_empty(0)
    if weight is not None:
        d_weight = torch.einsum("xjab,xjac->bc", d_states, own[0])
        d_states = d_states @ weight.to(d_states.dtype)
    tile = _tile(q, scope, scope.block_k)
    _linear_bwd_kv_kernel[(num_blocks(k.shape[2], tile.m), heads)](
        k,
        v,
        d_states.contiguous(),
        d_sums.contiguous(),
        dk,
        dv,
        *k.stride(),
        *v.stride(),
        k.shape[2],
        k.shape[1],
        key_blocks,
        BLOCK_K=scope.block_k if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        **_constants(q, feature_map),
        TILE=tile.m,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return dq, dk, dv, d_weight


def _states(k: Tensor, v: Tensor, scope: Scope, feature_map: str) -> tuple[Tensor, Tensor]:
    """States (key_heads, key_blocks, d, d) and sums (key_heads, key_blocks, d, 1)."""
    span, spans = _spans(k.shape[2], scope.block_k, scope)
    states, sums = _empty_states(k, spans)
    tile = _tile(k, scope, scope.block_k)
    _linear_state_kernel[(spans, k.shape[0] * k.shape[1])](
        k,
        v,
        states,
        sums,
        *k.stride(),
        *v.stride(),
        k.shape[2],
        k.shape[1],
        span,
        spans,
        **_constants(k, feature_map),
        TILE=tile.m,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if scope.skipped:
        return states, sums
    return states.sum(1, keepdim=True), sums.sum(1, keepdim=True)


def _tile(x: Tensor, scope: Scope, block: int) -> Tile:
    """The tile of a kernel; one that goes by blocks never spans two."""
    widest = block if scope.skipped else 256
    return linear_tile(x.dtype, x.shape[3], widest, vendor())


def _spans(tokens: int, block: int, scope: Scope) -> tuple[int, int]:
    """The length and number of spans: blocks, or shares of at least 128 tokens."""
    span = block if scope.skipped else max(128, num_blocks(num_blocks(tokens, SPANS), 128) * 128)
    return span, num_blocks(tokens, span)


def _empty_states(x: Tensor, spans: int) -> tuple[Tensor, Tensor]:
    size = (x.shape[0] * x.shape[1], spans, x.shape[3])
    states = torch.empty(*size, x.shape[3], dtype=torch.float32, device=x.device)
    return states, torch.empty(*size, 1, dtype=torch.float32, device=x.device)


def _projected(states: Tensor, weight: Tensor | None) -> Tensor:
    return states if weight is None else states @ weight.to(states.dtype).T


def _in_scope(states: Tensor, sums: Tensor, scope: Scope, group: int) -> tuple[Tensor, Tensor]:
    """States and sums of each query block; of each key head where the scope has no blocks."""
    if not scope.skipped:
        return states.contiguous(), sums
    return scope.mix(states, group), scope.mix(sums, group)


def _constants(x: Tensor, feature_map: str) -> dict[str, int | str]:
    """What is compiled into every kernel."""
    return {
        "D": x.shape[3],
        "BLOCK_D": next_power(x.shape[3]),
        "FEATURE": feature_map,
        "PRECISION": "ieee" if x.dtype == torch.float32 else "tf32",
    }
