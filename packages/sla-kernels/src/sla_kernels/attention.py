"""Sparse linear attention: the sparse branch plus the projected linear branch."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.autocast import under_autocast
from sla_kernels.backend import resolve
from sla_kernels.checks import check_attention_inputs, check_choice
from sla_kernels.linear import FEATURE_MAPS
from sla_kernels.linear.reference import linear_reference
from sla_kernels.select import BlockSelection, select_blocks
from sla_kernels.select.blocks import lists_to_mask
from sla_kernels.sparse import block_sparse_attention
from sla_kernels.sparse.public import check_selection

SCOPES = ("all", "complement", "marginal", None)


class Branches(NamedTuple):
    """The output and its parts."""

    out: Float[Tensor, "b h n d"]
    sparse: Float[Tensor, "b h n d"]
    linear: Float[Tensor, "b h n d"]  # before the projection


def sla_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    *,
    keep: float | int | None = None,
    selection: BlockSelection | None = None,
    block: tuple[int, int] = (128, 64),
    weight: Float[Tensor, "d d"] | None = None,
    bias: Float[Tensor, " d"] | None = None,
    feature_map: str = "softmax",
    linear: str | None = "all",
    negligible: float = 0.0,
    pinned: Int64[Tensor, " pinned"] | None = None,
    scale: float | None = None,
    eps: float = 1e-5,
    return_branches: bool = False,
    backend: str = "auto",
) -> Float[Tensor, "b h n d"] | Branches:
    """Attend the kept key blocks exactly and the keys in scope linearly; return the sum.

    out = o_s + weight o_l + bias, with o_s = softmax(scale q k^T) v over the kept blocks and
    o_l = phi(q) (phi(k)^T v) / (eps + phi(q) . sum phi(k)) over the keys in scope (SLA,
    arXiv 2509.24006). Without a weight o_l is added as it is.

    - `keep`, `block`, `pinned`, `negligible`: as in `select_blocks`. Or give a `selection` instead.
    - `feature_map`: phi, "softmax" over the head width, "elu1" (elu + 1) or "relu".
    - `linear`: the scope. "all" keys; the "complement" of the kept blocks; "marginal", the
      complement less the negligible blocks; None for no linear branch. Pinned keys are attended
      exactly, so only "all" holds them; a pinned query has an empty complement, where o_l is 0.
    - `return_branches`: return `Branches(out, sparse, linear)` instead.
    - `backend`: "eager" (blocked, CPU), "triton", "flex" (compiled, CPU, no gradient),
      "reference" (quadratic), or "auto", which `explain` puts into words.

    Differentiable in q, k, v, weight and bias, not through the selection.
    Raises ValueError where an argument cannot work.
    """
    q, k, v = under_autocast(q, k, v)
    check_attention_inputs(q, k, v)
    check_linear_arguments(linear, feature_map, negligible, weight, bias, q, eps)
    if (keep is None) == (selection is None):
        raise ValueError(
            f"keep={keep!r} with {'no' if selection is None else 'a'} selection; give exactly one"
        )
    if selection is None:
        assert keep is not None
        selection = select_blocks(
            q, k, keep=keep, block=block, pinned=pinned, negligible=negligible, scale=scale
        )
    elif pinned is not None:
        raise ValueError("pinned belongs to the selection when one is given; pass it there")
    check_selection(selection, q, k)
    sparse = block_sparse_attention(q, k, v, selection, scale=scale, backend=backend)
    assert isinstance(sparse, Tensor)
    if linear is None:
        return sparse
    if return_branches:
        found = linear_branch(
            q, k, v, None, None, None, selection, linear, feature_map, eps, backend
        )
        projected = found if weight is None else F.linear(found, weight, bias)
        return Branches(sparse + projected, sparse, found)
    return linear_branch(
        q, k, v, weight, bias, sparse, selection, linear, feature_map, eps, backend
    )


def linear_branch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    base: Tensor | None,
    selection: BlockSelection,
    scope: str,
    feature_map: str,
    eps: float,
    backend: str,
) -> Float[Tensor, "b h n d"]:
    """Return base plus the linear branch over a scope, projected where a weight is given."""
    name, _ = resolve(backend, q)
    if name == "reference":
        exact = torch.promote_types(q.dtype, torch.float32)
        found = linear_reference(
            q.to(exact), k.to(exact), v.to(exact), scope_mask(selection, scope), feature_map, eps
        )
        if weight is not None:
            bias = None if bias is None else bias.to(found.dtype)
            found = F.linear(found, weight.to(found.dtype), bias)
        return (found if base is None else found + base).to(q.dtype)
    everything = scope == "all"
    kept, negligible = (None, None) if everything else skipped_lists(selection, scope)
    out: Tensor = torch.ops.sla_kernels.linear_forward(
        q,
        k,
        v,
        weight,
        bias,
        base,
        kept,
        negligible,
        None if everything else selection.token_order(),
        0 if everything else selection.num_pinned,
        *selection.block,
        feature_map,
        eps,
        "eager" if name == "flex" else name,
    )
    return out


def skipped_lists(selection: BlockSelection, scope: str) -> tuple[Tensor, Tensor | None]:
    """The key blocks out of scope: the kept ones, and in scope "marginal" the negligible ones."""
    if scope == "complement":
        return selection.indices, None
    if selection.negligible is None:
        raise ValueError(
            "linear='marginal' needs a selection with a negligible class; "
            "pass negligible=0.1, say, to select_blocks or sla_attention"
        )
    return selection.indices, selection.negligible


def scope_mask(selection: BlockSelection, scope: str) -> Tensor | None:
    """The query-key pairs in scope; None for all of them."""
    if scope == "all":
        return None
    _, negligible = skipped_lists(selection, scope)
    outside = selection.block_mask()
    if negligible is not None:
        outside = outside | lists_to_mask(negligible, selection.key_blocks)
    return selection.expand(~outside, pinned_rows=False, pinned_columns=False)


def check_linear_arguments(
    linear: str | None,
    feature_map: str,
    negligible: float,
    weight: Tensor | None,
    bias: Tensor | None,
    q: Tensor,
    eps: float,
) -> None:
    """Refuse what no linear branch can be made of."""
    check_choice("linear", linear, SCOPES)
    check_choice("feature_map", feature_map, tuple(FEATURE_MAPS))
    width = q.shape[3]
    if linear is None and weight is not None:
        raise ValueError(
            "weight projects the linear branch, but linear=None; pass one or the other"
        )
    if bias is not None and weight is None:
        raise ValueError("bias is given without weight; pass both or neither")
    if weight is not None and weight.shape != (width, width):
        raise ValueError(f"weight has shape {tuple(weight.shape)}; it must be ({width}, {width})")
    if bias is not None and bias.shape != (width,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; it must be ({width},)")
    if not eps >= 0:
        raise ValueError(f"eps={eps!r}; it must be at least 0")
    if negligible and linear != "marginal":
        raise ValueError(
            f"negligible={negligible!r} concerns scope 'marginal' alone, but linear={linear!r}"
        )
