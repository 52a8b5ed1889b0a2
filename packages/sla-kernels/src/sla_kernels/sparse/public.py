"""The public sparse branch."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sla_kernels.autocast import under_autocast
from sla_kernels.backend import resolve
from sla_kernels.checks import check_attention_inputs
from sla_kernels.select.blocks import BlockSelection
from sla_kernels.sparse.flex import flex_forward
from sla_kernels.sparse.reference import sparse_reference


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
    scale = q.shape[3] ** -0.5 if scale is None else scale
    name, _ = resolve(backend, q, k, selection, lse=return_lse)
    if name == "reference":
        exact = torch.promote_types(q.dtype, torch.float32)
        mask = selection.token_mask()
        out, lse = sparse_reference(q.to(exact), k.to(exact), v.to(exact), mask, scale)
        out = out.to(q.dtype)
    elif name == "dense":
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    elif name == "flex":
        if return_lse:
            raise ValueError("backend='flex' returns no log-sum-exp; pass backend='eager'")
        return flex_forward(q, k, v, selection, scale)
    else:
        out, lse = torch.ops.sla_kernels.sparse_forward(
            q,
            k,
            v,
            selection.indices,
            selection.counts,
            selection.token_order(),
            selection.num_pinned,
            *selection.block,
            scale,
            name,
        )
    return (out, lse) if return_lse else out


def check_selection(selection: BlockSelection, q: Tensor, k: Tensor) -> None:
    """Refuse a selection made for tensors of other sizes."""
    made_for = (*selection.counts.shape[:2], selection.num_queries, selection.num_keys)
    given = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    if made_for != given:
        raise ValueError(
            f"selection was made for (b, h, n, m) = {made_for} but q and k have {given}; "
            "make it anew with select_blocks(q, k, ...)"
        )
    if selection.indices.device != q.device:
        raise ValueError(
            f"selection is on {selection.indices.device} but q on {q.device}; they must agree"
        )
