"""The sparse branch alone, over any selection."""

from typing import Literal, overload

from jaxtyping import Float
from torch import Tensor

from sla_kernels.backend import resolve
from sla_kernels.chosen import check_selection
from sla_kernels.runtime.autocast import under_autocast
from sla_kernels.runtime.checks import check_attention_inputs
from sla_kernels.select.selection import BlockSelection
from sla_kernels.sparse.attention import sparse_attention, sparse_attention_with_lse


@overload
def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    *,
    scale: float | None = None,
    return_lse: Literal[False] = False,
    backend: str = "auto",
) -> Tensor: ...


@overload
def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    *,
    scale: float | None = None,
    return_lse: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def block_sparse_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    selection: BlockSelection,
    *,
    scale: float | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> Float[Tensor, "b h n d"] | tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h n"]]:
    """Attend the selected key blocks exactly: softmax(scale q k^T) v over them.

    Heads may be grouped: h is a multiple of g. `scale` is 1 / sqrt(d) if None. With `return_lse`
    the log-sum-exp of every query's scaled scores comes too (natural logarithm, at least float32,
    not differentiable). Differentiable in q, k and v. Under autocast q, k and v are cast to its
    type, as for `scaled_dot_product_attention`. `backend` is that of `sla_attention`.

    Raises ValueError where an argument cannot work.
    """
    q, k, v = under_autocast(q, k, v)
    check_attention_inputs(q, k, v)
    check_selection(selection, q, k)
    name = resolve(backend, q, selection, lse=return_lse).sparse
    scale = q.shape[3] ** -0.5 if scale is None else scale
    if return_lse:
        return sparse_attention_with_lse(q, k, v, selection, scale, name)
    return sparse_attention(q, k, v, selection, scale, name)
