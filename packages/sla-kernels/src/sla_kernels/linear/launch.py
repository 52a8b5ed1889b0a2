"""Launch the Triton kernels of the linear branch; what is d by d goes through PyTorch."""

import torch
from torch import Tensor

from sla_kernels.linear.rule import Rule
from sla_kernels.linear.scope import Scope
from sla_kernels.linear.states import States, pull_back_seen, seen
from sla_kernels.runtime.dry import launched
from sla_kernels.runtime.grid import grid, next_power, within_reach
from sla_kernels.runtime.tiles import Tile, Tiles, architecture_of, precision, tiles_of
from sla_kernels.select.blocks import num_blocks

SPANS = 64  # programs that share the tokens of a head where the scope has no blocks


def linear_attention_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    base: Tensor | None,
    scope: Scope,
    rule: Rule,
    in_place: bool = False,
) -> Tensor:
    """Return base plus the linear branch, projected by weight and bias, as far as given."""
    q, k, v = (within_reach(x) for x in (q, k, v))
    into = base if in_place else None
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if into is None else into
    group = q.shape[1] // k.shape[1]
    states = _seen(_states(k, v, scope, rule), weight, scope, group)
    tile = _fit(_tiles(q).linear, q, scope, scope.block_q)
    rows = num_blocks(q.shape[2], scope.block_q)
    programs = grid(num_blocks(q.shape[2], tile.m), q, _parts(q, tile))
    kernel = launched("linear.kernels:linear_attention_forward_kernel")
    kernel[programs](
        q,
        *states,
        q if bias is None else bias.contiguous(),
        q if base is None else base,
        out,
        *q.stride(),
        *(q if base is None else base).stride(),
        q.shape[2],
        q.shape[1],
        group,
        rows,
        rule.eps,
        BLOCK_Q=scope.block_q if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        HAS_BIAS=bias is not None,
        HAS_BASE=base is not None,
        **_constants(q, rule, tile),
    )
    return out


def linear_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    scope: Scope,
    rule: Rule,
    into: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v (added to `into` if given) and weight (or nothing)."""
    grad, q, k, v = (within_reach(x) for x in (grad, q, k, v))
    made = into or tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    group, own = q.shape[1] // k.shape[1], _states(k, v, scope, rule)
    states = _seen(own, weight, scope, group)
    total, d_total = torch.empty(2, *q.shape[:3], dtype=torch.float32, device=q.device)
    tile = _fit(_tiles(q).linear, q, scope, scope.block_q)
    kernel = launched("linear.kernels:linear_attention_backward_q_kernel")
    kernel[grid(num_blocks(q.shape[2], tile.m), q)](
        grad,
        q,
        *states,
        made[0],
        total,
        d_total,
        *grad.stride(),
        *q.stride(),
        q.shape[2],
        q.shape[1],
        group,
        num_blocks(q.shape[2], scope.block_q),
        rule.eps,
        BLOCK_Q=scope.block_q if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        ADD=into is not None,
        **_constants(q, rule, tile),
    )
    d_seen = _sums(q, grad, (total, d_total), scope.block_q, scope, rule)
    d_own, d_weight = pull_back_seen(d_seen, own, weight, scope)
    tile = _fit(_tiles(q).linear, q, scope, scope.block_k)
    kernel = launched("linear.kernels:linear_attention_backward_kv_kernel")
    kernel[grid(num_blocks(k.shape[2], tile.m), k)](
        k,
        v,
        *(x.contiguous() for x in d_own),
        made[1],
        made[2],
        *k.stride(),
        *v.stride(),
        k.shape[2],
        k.shape[1],
        own.matrices.shape[1],
        BLOCK_K=scope.block_k if scope.skipped else 0,
        SCOPED=bool(scope.skipped),
        ADD=into is not None,
        **_constants(q, rule, tile),
    )
    return made[0], made[1], made[2], q.new_empty(0) if d_weight is None else d_weight


def _states(k: Tensor, v: Tensor, scope: Scope, rule: Rule) -> States:
    """The states of all key blocks, of all heads and batch entries."""
    made = _sums(k, v, None, scope.block_k, scope, rule)
    return made if scope.skipped else States(*(x.sum(1, keepdim=True) for x in made))


def _seen(own: States, weight: Tensor | None, scope: Scope, group: int) -> States:
    """What each query block sees; where the scope has no blocks, once for a group of heads."""
    found = seen(own, weight, scope, group if scope.skipped else 1)
    return States(*(x.contiguous() for x in found))


def _sums(
    x: Tensor,
    y: Tensor,
    totals: tuple[Tensor, Tensor] | None,
    block: int,
    scope: Scope,
    rule: Rule,
) -> States:
    """Sum phi(x)^T y and phi(x) over spans: blocks, or shares of at least 128 tokens."""
    tokens = x.shape[2]
    span = block if scope.skipped else max(128, num_blocks(num_blocks(tokens, SPANS), 128) * 128)
    spans, heads = num_blocks(tokens, span), x.shape[0] * x.shape[1]
    states = torch.empty(heads, spans, x.shape[3], x.shape[3], device=x.device)
    sums = torch.empty(heads, spans, x.shape[3], 1, device=x.device)
    tile = _fit(_tiles(x).state, x, scope, block)
    kernel = launched("linear.kernels:linear_attention_state_kernel")
    kernel[grid(spans, x, _parts(x, tile))](
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
        **_constants(x, rule, tile),
    )
    return States(states, sums)


def _tiles(x: Tensor) -> Tiles:
    return tiles_of(architecture_of(x.device), x.dtype, x.shape[3])


def _fit(tile: Tile, x: Tensor, scope: Scope, block: int) -> Tile:
    """A tile no wider than the state and, where the scope goes by blocks, within one block."""
    return tile.within((block if scope.skipped else tile.m, next_power(x.shape[3])))


def _parts(x: Tensor, tile: Tile) -> int:
    """How many programs share the columns of a state."""
    return num_blocks(next_power(x.shape[3]), tile.n)


def _constants(x: Tensor, rule: Rule, tile: Tile) -> dict[str, int | str]:
    """What is compiled into every kernel."""
    return {
        "D": x.shape[3],
        "BLOCK_D": next_power(x.shape[3]),
        "PART": tile.n,
        "TILE": tile.m,
        "FEATURE": rule.feature_map,
        "PRECISION": precision(architecture_of(x.device), x.dtype),
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
