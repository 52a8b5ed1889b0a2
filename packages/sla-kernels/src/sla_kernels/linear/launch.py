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
from sla_kernels.tiles import Tile, Tiles, architecture_of, precision, tiles_of
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
    in_place: bool = False,
) -> Tensor:
    """Return base plus the linear branch, projected by weight and bias, as far as given."""
    into = base if in_place else None
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if into is None else into
    states, sums = _states(k, v, scope, feature_map)
    states, sums = _in_scope(_projected(states, weight), sums, scope, q.shape[1] // k.shape[1])
    tile = _fit(_tiles(q).linear, q, scope, scope.block_q)
    rows = num_blocks(q.shape[2], scope.block_q)
    grid = (num_blocks(q.shape[2], tile.m), q.shape[0] * q.shape[1], _parts(q, tile))
    _linear_fwd_kernel[grid](
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
        **_constants(q, feature_map, tile),
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
    into: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v (added to `into` if given) and weight (or nothing)."""
    made = into or tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    group, own = q.shape[1] // k.shape[1], _states(k, v, scope, feature_map)
    states, sums = _in_scope(_projected(own[0], weight), own[1], scope, group)
    total, d_total = torch.empty(2, *q.shape[:3], dtype=torch.float32, device=q.device)
    tile = _fit(_tiles(q).linear, q, scope, scope.block_q)
    _linear_bwd_q_kernel[(num_blocks(q.shape[2], tile.m), q.shape[0] * q.shape[1])](
        grad,
        q,
        states,
        sums,
        made[0],
        total,
        d_total,
        *grad.stride(),
        *q.stride(),
        q.shape[2],
        q.shape[1],
        group,
        num_blocks(q.shape[2], scope.block_q),
        eps,
        BLOCK_Q=scope.block_q if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        ADD=into is not None,
        **_constants(q, feature_map, tile),
    )
    d_states, d_sums = _sums(q, grad, (total, d_total), scope.block_q, scope, feature_map)
    heads, key_blocks = k.shape[0] * k.shape[1], num_blocks(k.shape[2], scope.block_k)
    d_states, d_sums = (
        scope.unmix(x.reshape(heads, -1, *x.shape[2:]), key_blocks) for x in (d_states, d_sums)
    )
    d_weight = q.new_empty(0)
    if weight is not None:
        d_weight = torch.einsum("xjab,xjac->bc", d_states, own[0])
        d_states = d_states @ weight.to(d_states.dtype)
    tile = _fit(_tiles(q).linear, q, scope, scope.block_k)
    _linear_bwd_kv_kernel[(num_blocks(k.shape[2], tile.m), heads)](
        k,
        v,
        d_states.contiguous(),
        d_sums.contiguous(),
        made[1],
        made[2],
        *k.stride(),
        *v.stride(),
        k.shape[2],
        k.shape[1],
        key_blocks,
        BLOCK_K=scope.block_k if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        ADD=into is not None,
        **_constants(q, feature_map, tile),
    )
    return made[0], made[1], made[2], d_weight


def _states(k: Tensor, v: Tensor, scope: Scope, feature_map: str) -> tuple[Tensor, Tensor]:
    """States (key_heads, key_blocks, d, d) and sums (key_heads, key_blocks, d, 1)."""
    states, sums = _sums(k, v, None, scope.block_k, scope, feature_map)
    if scope.skipped:
        return states, sums
    return states.sum(1, keepdim=True), sums.sum(1, keepdim=True)


def _sums(
    x: Tensor,
    y: Tensor,
    totals: tuple[Tensor, Tensor] | None,
    block: int,
    scope: Scope,
    feature_map: str,
) -> tuple[Tensor, Tensor]:
    """Sum phi(x)^T y and phi(x) over spans: blocks, or shares of at least 128 tokens."""
    tokens = x.shape[2]
    span = block if scope.skipped else max(128, num_blocks(num_blocks(tokens, SPANS), 128) * 128)
    spans, heads = num_blocks(tokens, span), x.shape[0] * x.shape[1]
    states = torch.empty(heads, spans, x.shape[3], x.shape[3], device=x.device)
    sums = torch.empty(heads, spans, x.shape[3], 1, device=x.device)
    tile = _fit(_tiles(x).state, x, scope, block)
    _linear_state_kernel[(spans, heads, _parts(x, tile))](
        x,
        y,
        *((states, states) if totals is None else totals),
        states,
        sums,
        *x.stride(),
        *y.stride(),
        tokens,
        x.shape[1],
        span,
        spans,
        SCALED=totals is not None,
        **_constants(x, feature_map, tile),
    )
    return states, sums


def _tiles(x: Tensor) -> Tiles:
    return tiles_of(architecture_of(x.device), x.dtype, x.shape[3])


def _fit(tile: Tile, x: Tensor, scope: Scope, block: int) -> Tile:
    """A tile no wider than the state and, where the scope goes by blocks, within one block."""
    return tile.within((block if scope.skipped else tile.m, next_power(x.shape[3])))


def _projected(states: Tensor, weight: Tensor | None) -> Tensor:
    return states if weight is None else states @ weight.to(states.dtype).T


def _in_scope(states: Tensor, sums: Tensor, scope: Scope, group: int) -> tuple[Tensor, Tensor]:
    """States and sums of each query block; of each key head where the scope has no blocks."""
    if not scope.skipped:
        return states.contiguous(), sums
    return scope.mix(states, group), scope.mix(sums, group)


def _parts(x: Tensor, tile: Tile) -> int:
    """How many programs share the columns of a state."""
    return num_blocks(next_power(x.shape[3]), tile.n)


def _constants(x: Tensor, feature_map: str, tile: Tile) -> dict[str, int | str]:
    """What is compiled into every kernel."""
    return {
        "D": x.shape[3],
        "BLOCK_D": next_power(x.shape[3]),
        "PART": tile.n,
        "TILE": tile.m,
        "FEATURE": feature_map,
        "PRECISION": precision(architecture_of(x.device), x.dtype),
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
