"""The linear branch by any backend; its callers have checked everything."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from sla_kernels.linear.reference import linear_attention_reference
from sla_kernels.linear.rule import Rule
from sla_kernels.runtime.autocast import in_own_type
from sla_kernels.runtime.checks import check_no_tangents
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.blocks import lists_to_mask
from sla_kernels.select.lists import BlockLists
from sla_kernels.select.selection import BlockSelection
from sla_kernels.summary.selection import SummarySelection


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: BlockSelection | SummarySelection,
    rule: Rule,
    backend: str,
) -> Tensor:
    """Return the linear branch over the scope of a rule, before the projection."""
    out: Tensor
    if backend == "reference":
        exact = at_least_float32(q)
        dtype = q.dtype
        q, k, v = (x.to(exact) for x in (q, k, v))
        mask = _mask(selection, rule.scope)
        with in_own_type(q):
            out = linear_attention_reference(q, k, v, mask, rule.feature_map, rule.eps)
        return out.to(dtype)
    check_no_tangents(q, k, v)
    out = torch.ops.sla_kernels.linear_attention_forward(
        q, k, v, None, None, *_lists(selection, q), *rule, backend
    )
    return out


def added(
    sparse: Float[Tensor, "b h n d"],
    linear: Float[Tensor, "b h n d"],
    weight: Float[Tensor, "d d"] | None,
    bias: Float[Tensor, " d"] | None,
    mix: Float[Tensor, " h"] | None,
) -> Float[Tensor, "b h n d"]:
    """Project the linear branch and add it to the sparse one, or mix both by a ratio a head."""
    if weight is not None:
        given = None if bias is None else bias.to(linear.dtype)
        linear = F.linear(linear, weight.to(linear.dtype), given)
    if mix is None:
        return sparse + linear
    return torch.lerp(linear, sparse, rearrange(mix.to(linear.dtype), "h -> h 1 1"))


def _lists(selection: BlockSelection | SummarySelection, q: Tensor) -> BlockLists:
    """The lists that the linear branch walks; none where it sees all keys anyway."""
    if isinstance(selection, BlockSelection):
        return selection.lists
    counts = q.new_zeros((*q.shape[:2], selection.query_blocks), dtype=torch.int32)
    return BlockLists(counts[..., None][..., :0], counts, None, None, 0, *selection.block)


def _mask(selection: BlockSelection | SummarySelection, scope: str) -> Tensor | None:
    return scope_mask(selection, scope) if isinstance(selection, BlockSelection) else None


def scope_mask(selection: BlockSelection, scope: str) -> Tensor | None:
    """The query-key pairs in scope; None for all of them."""
    if scope == "all":
        return None
    outside = selection.block_mask()
    if scope == "marginal" and selection.negligible is not None:
        outside = outside | lists_to_mask(selection.negligible, selection.key_blocks)
    return selection.expand(~outside, pinned_rows=False, pinned_columns=False)
