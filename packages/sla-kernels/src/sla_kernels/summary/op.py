"""Listed rows as operators known to PyTorch: from the caller's tokens to the caller's output.

The kernels of a GPU take up in the backward pass what the forward pass leaves: its output, which
the caller holds too, and one number a query. The CPU makes both anew, batch by batch.
"""

import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import reduce, repeat
from torch import Tensor

from sla_kernels.runtime.library import register, register_gradient
from sla_kernels.runtime.parts import HEAD_BYTES, Heads, by_heads
from sla_kernels.runtime.passes import passes_for
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.summary import eager
from sla_kernels.summary.layout import RowLists
from sla_kernels.summary.reference import summary_reference
from sla_kernels.summary.rows import Rows, back_to_tokens, permuted, shifted, work_of

TABLES = 4  # as much as the forward pass holds a head: keys, values, gradients, in float32


def kernels_of(backend: str) -> ModuleType:
    """The module that holds a backend's `summary_attention_forward` and `_backward`."""
    return import_module("sla_kernels.summary.launch") if backend == "triton" else eager


def takes_up(backend: str) -> bool:
    """Whether the backward pass starts from the output and the log-sum-exp of the forward pass."""
    return backend == "triton"


def summary_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, lists: RowLists, scale: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Return softmax over listed rows for ordinary queries, over every key for pinned ones.

    And the log-sum-exp of the ordered queries in powers of two, empty where nothing takes it up.
    """
    if takes_up(backend):
        out, lse = _attend_in_place(q, k, v, lists, scale)
        _attend_pinned(out, q, k, v, lists, scale)
        return out, lse
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    attend: Callable[..., None] = functools.partial(_attend, backend=backend)
    passes = passes_for(q, k, v) if backend == "eager" else None
    if passes and passes.attends(q, lists.block_q):
        attend = eager.attend_by_passes
    for part in _in_parts(q, k, backend, HEAD_BYTES):
        keys, queries = part
        given = (q[:, queries], k[:, keys], v[:, keys], lists.of(part))
        attend(out[:, queries], *given, scale)
    return out, q.new_empty(0).float()


def summary_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    lse: Tensor | None,
    lists: RowLists,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v; the choice of rows and weights is constant."""
    parts = _in_parts(q, k, backend, HEAD_BYTES // TABLES)
    if len(parts) == 1:
        return _backward(grad, q, k, v, out, lse, lists, scale, backend)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    for part in parts:
        keys, queries = part
        given = (grad[:, queries], q[:, queries], k[:, keys], v[:, keys])
        dq[:, queries], dk[:, keys], dv[:, keys] = _backward(
            *given, None, None, lists.of(part), scale, backend
        )
    return dq, dk, dv


def _in_parts(q: Tensor, k: Tensor, backend: str, most: int) -> list[Heads]:
    """The kernels of a GPU take all heads at once, and so does the definition."""
    return by_heads(q, k, most) if backend == "eager" else [Heads(slice(None), slice(None))]


def _attend(
    out: Tensor, q: Tensor, k: Tensor, v: Tensor, lists: RowLists, scale: float, backend: str
) -> None:
    """Write the output of queries where they stand."""
    if backend == "eager":
        run, rows = eager.summary_attention_forward, eager.rows_on_cpu(k, v, lists)
    else:
        run, rows = summary_reference, work_of(k, v, lists, None).rows
    own = q.shape[2] == k.shape[2]
    queries = permuted(q, lists.order, lists.block_q) if own else q
    found = run(queries, rows, lists.rows, lists.block_q, scale)
    if own:
        _put(out, found, lists.order)
        _attend_pinned(out, q, k, v, lists, scale)
    else:
        out.copy_(found)


def _attend_pinned(
    out: Tensor, q: Tensor, k: Tensor, v: Tensor, lists: RowLists, scale: float
) -> None:
    """Write the output of pinned queries, which attend every key."""
    if q.shape[2] == k.shape[2] and lists.outside.shape[0]:
        out.index_copy_(2, lists.outside, _of_pinned(q, k, v, lists.outside, scale))


def _put(out: Tensor, found: Tensor, order: Tensor) -> None:
    """Write what queries in order found to where they stand."""
    passes = passes_for(out, found)
    if passes:
        passes.put_back(found, order, out)
        return
    for part, here, made in zip(out, order, found, strict=True):
        part.index_copy_(1, here, made[:, : len(here)])


def _backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    lse: Tensor | None,
    lists: RowLists,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    work = work_of(k, v, lists, k.dtype if backend == "triton" else None)
    own = q.shape[2] == k.shape[2]
    kept = () if out is None else (out,)
    queries, *more = (permuted(x, lists.order) if own else x for x in (q, grad, *kept))
    left = more if lse is None else [*more, lse]
    dq, *d_rows = _pull_back(queries, work.rows, left, lists, scale, backend)
    dk, dv = (
        back_to_tokens(x, lists.order, lists.outside, work.weights, work.layout, like)
        for x, like in zip(d_rows, (k, v), strict=True)
    )
    if not own:
        return dq, dk.to(k.dtype), dv.to(v.dtype)
    whole = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    _put(whole, dq, lists.order)
    if lists.outside.shape[0]:
        found = _pull_back_pinned(grad, q, k, v, lists.outside, scale)
        whole.index_copy_(2, lists.outside, found[0])
        dk, dv = dk + found[1], dv + found[2]
    return whole, dk.to(k.dtype), dv.to(v.dtype)


def _attend_in_place(
    q: Tensor, k: Tensor, v: Tensor, lists: RowLists, scale: float
) -> tuple[Tensor, Tensor]:
    """By the kernels of a GPU, which put nothing in order; pinned queries get no output."""
    launch = kernels_of("triton")
    if launch.lays_out(tuple(lists.sizes)):
        layout = lists.layout(k.shape[2])
        rows = launch.rows_of(k, v, lists.order, lists.outside, lists.tilt, layout)
        rows = shifted(rows, lists.offsets, layout)
    else:
        rows = work_of(k, v, lists, k.dtype).rows
    order = lists.order if q.shape[2] == k.shape[2] else None
    made: tuple[Tensor, Tensor] = launch.summary_attention_forward(
        q, rows, lists.rows, lists.block_q, scale, order
    )
    return made


def _pull_back(
    queries: Tensor,
    rows: Rows,
    left: Sequence[Tensor],
    lists: RowLists,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of ordered queries and rows; `left` are grad and what the backend takes up."""
    grad, *taken_up = left
    run = kernels_of(backend).summary_attention_backward
    made: tuple[Tensor, Tensor, Tensor] = run(
        grad, queries, rows, *taken_up, lists.rows, lists.block_q, scale
    )
    return made


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
        if not out.requires_grad:  # within a dispatch mode nothing is recorded
            return _pull_back_written_out(grad, q.detach(), k.detach(), v.detach(), outside, scale)
        found = torch.autograd.grad(out, (q, k, v), grad.index_select(2, outside))
    return found[0].index_select(2, outside), found[1], found[2]


def _pull_back_written_out(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, outside: Tensor, scale: float
) -> tuple[Tensor, ...]:
    """The same by its formulas, with all scores of the pinned queries at once."""
    like, groups = (q.dtype, k.dtype, v.dtype), k.shape[1]
    q, grad = (x.index_select(2, outside).to(at_least_float32(x)) for x in (q, grad))
    k, v = (repeat(x.to(q.dtype), "b g m d -> b (g r) m d", r=q.shape[1] // groups) for x in (k, v))
    weights = (scale * q @ k.mT).softmax(-1)
    d_weights = grad @ v.mT
    d_scores = scale * weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True))
    dk, dv = (
        reduce(a.mT @ b, "b (g r) m d -> b g m d", "sum", g=groups)
        for a, b in ((d_scores, q), (weights, grad))
    )
    return tuple(x.to(dtype) for x, dtype in zip((d_scores @ k, dk, dv), like, strict=True))


def fake_forward(q: Tensor, k: Tensor, lists: RowLists, backend: str) -> tuple[Tensor, Tensor]:
    """Say what the forward operator returns, from shapes alone."""
    own = q.shape[2] == k.shape[2]
    queries = lists.order.shape[1] if own else q.shape[2]
    shape = (*q.shape[:2], queries) if takes_up(backend) else (0,)
    return q.new_empty(q.shape), q.new_empty(shape, dtype=torch.float32)


def fake_backward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Say what the backward operator returns, from shapes alone."""
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _not_taken_up(given: dict[str, object]) -> tuple[str, ...]:
    return () if takes_up(str(given["backend"])) else ("out", "lse")


register(summary_attention_forward, fake_forward)
register(summary_attention_backward, fake_backward)
register_gradient(
    summary_attention_forward,
    summary_attention_backward,
    outputs=("out", "lse"),
    wrt=("q", "k", "v"),
    drop=_not_taken_up,
)
