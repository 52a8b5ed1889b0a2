"""The linear branch by itself, and what its arguments must be."""

import torch
from torch import Tensor

from sla_kernels.checks import check_choice
from sla_kernels.linear.features import FEATURE_MAPS
from sla_kernels.linear.reference import linear_reference
from sla_kernels.select.blocks import BlockSelection, lists_to_mask

SCOPES = ("all", "complement", "marginal", None)


def linear_branch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection,
    scope: str,
    feature_map: str,
    eps: float,
    backend: str,
) -> Tensor:
    """Return the linear branch over a scope, before the projection."""
    if backend == "reference":
        exact = torch.promote_types(q.dtype, torch.float32)
        mask = scope_mask(selection, scope)
        found = linear_reference(q.to(exact), k.to(exact), v.to(exact), mask, feature_map, eps)
        return found.to(q.dtype)
    everything = scope == "all"
    out: Tensor = torch.ops.sla_kernels.linear_forward(
        q,
        k,
        v,
        None,
        None,
        None if everything else selection.indices,
        selection.negligible if scope == "marginal" else None,
        None if everything else selection.token_order(),
        0 if everything else selection.num_pinned,
        *selection.block,
        feature_map,
        eps,
        backend,
    )
    return out


def scope_mask(selection: BlockSelection, scope: str) -> Tensor | None:
    """The query-key pairs in scope; None for all of them."""
    if scope == "all":
        return None
    outside = selection.block_mask()
    if scope == "marginal" and selection.negligible is not None:
        outside = outside | lists_to_mask(selection.negligible, selection.key_blocks)
    return selection.expand(~outside, pinned_rows=False, pinned_columns=False)


def check_scope(scope: str | None, selection: BlockSelection) -> None:
    """Refuse scope "marginal" of a selection that names no negligible blocks."""
    if scope == "marginal" and selection.negligible is None:
        raise ValueError(
            "linear='marginal' needs a selection with a negligible class; "
            "pass negligible=0.1, say, to select_blocks or sla_attention"
        )


def check_linear_arguments(
    scope: str | None,
    feature_map: str,
    negligible: float,
    weight: Tensor | None,
    bias: Tensor | None,
    width: int,
    eps: float,
) -> None:
    """Refuse what no linear branch can be made of."""
    check_choice("linear", scope, SCOPES)
    check_choice("feature_map", feature_map, tuple(FEATURE_MAPS))
    if scope is None and weight is not None:
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
    if negligible and scope != "marginal":
        raise ValueError(
            f"negligible={negligible!r} concerns scope 'marginal' alone, but linear={scope!r}"
        )
