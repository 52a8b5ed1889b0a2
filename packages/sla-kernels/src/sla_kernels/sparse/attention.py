"""The sparse branch by any backend; its callers have checked everything."""

import torch
from torch import Tensor

from sla_kernels.runtime.autocast import in_own_type
from sla_kernels.runtime.checks import check_no_tangents
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.selection import BlockSelection
from sla_kernels.sparse.dense import dense_attention
from sla_kernels.sparse.flex import sparse_attention_flex
from sla_kernels.sparse.reference import sparse_attention_reference
from sla_kernels.summary.attention import summary_attention
from sla_kernels.summary.selection import SummarySelection


def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection | SummarySelection,
    scale: float,
    backend: str,
) -> Tensor:
    """Return softmax(scale q k^T) v over the kept key blocks, and over summaries where listed."""
    if backend == "dense":
        return dense_attention(q, k, v, scale)
    if isinstance(selection, BlockSelection):
        if backend != "flex":
            return sparse_attention_with_lse(q, k, v, selection, scale, backend)[0]
        check_no_tangents(q, k, v)
        return sparse_attention_flex(q, k, v, selection, scale)
    return summary_attention(q, k, v, selection, scale, backend)


def sparse_attention_with_lse(
    q: Tensor, k: Tensor, v: Tensor, selection: BlockSelection, scale: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Return the output too with the log-sum-exp of each query's scaled scores."""
    if backend == "reference":
        exact = at_least_float32(q)
        dtype = q.dtype
        q, k, v = (x.to(exact) for x in (q, k, v))
        with in_own_type(q):
            out, lse = sparse_attention_reference(q, k, v, selection.token_mask(), scale)
        return out.to(dtype), lse
    check_no_tangents(q, k, v)
    made: tuple[Tensor, Tensor] = torch.ops.sla_kernels.sparse_attention_forward(
        q, k, v, *selection.lists, scale, backend
    )
    return made
