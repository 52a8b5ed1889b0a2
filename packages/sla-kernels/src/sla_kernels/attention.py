"""Sparse linear attention: the sparse branch plus the projected linear branch."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels import op as op
from sla_kernels.autocast import under_autocast
from sla_kernels.backend import own, resolve
from sla_kernels.checks import check_attention_inputs
from sla_kernels.linear.public import check_linear_arguments, check_scope, linear_branch
from sla_kernels.select import BlockSelection, select_blocks
from sla_kernels.sparse import block_sparse_attention
from sla_kernels.sparse.public import check_selection


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
    mix: Float[Tensor, " h"] | None = None,
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
    - `mix`: a ratio for each head; then out = mix o_s + (1 - mix) (weight o_l + bias)
      (SLA2, arXiv 2602.12675, with one ratio a head).
    - `feature_map`: phi, "softmax" over the head width, "elu1" (elu + 1) or "relu".
    - `linear`: the scope. "all" keys; the "complement" of the kept blocks; "marginal", the
      complement less the negligible blocks; None for no linear branch. Pinned keys are attended
      exactly, so only "all" holds them; a pinned query has an empty complement, where o_l is 0.
    - `return_branches`: return `Branches(out, sparse, linear)` instead.
    - `backend`: "eager" (blocked, CPU), "triton", "flex" (compiled, CPU, no gradient),
      "reference" (quadratic), "dense" (`scaled_dot_product_attention` for the sparse branch, only
      where every block is kept), or "auto", which `explain` puts into words.

    Differentiable in q, k, v, weight, bias and mix, not through the selection.
    Raises ValueError where an argument cannot work.
    """
    q, k, v = under_autocast(q, k, v)
    check_attention_inputs(q, k, v)
    check_linear_arguments(linear, feature_map, negligible, weight, bias, q.shape[3], eps)
    if linear is None and (mix is not None or return_branches):
        raise ValueError("mix and return_branches need a linear branch, but linear=None")
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
    check_scope(linear, selection)
    name, _ = resolve(backend, q, k, selection)
    if linear is None:
        only = block_sparse_attention(q, k, v, selection, scale=scale, backend=name)
        assert isinstance(only, Tensor)
        return only
    scale = q.shape[3] ** -0.5 if scale is None else scale
    if name in ("eager", "triton") and mix is None and not return_branches:
        return _both(q, k, v, weight, bias, selection, scale, linear, feature_map, eps, name)
    sparse = block_sparse_attention(q, k, v, selection, scale=scale, backend=name)
    assert isinstance(sparse, Tensor)
    beside = own(q)[0] if name in ("flex", "dense") else name
    found = linear_branch(q, k, v, selection, linear, feature_map, eps, beside)
    out = combine(sparse, found, weight, bias, mix)
    return Branches(out, sparse, found) if return_branches else out


def combine(
    sparse: Float[Tensor, "b h n d"],
    linear: Float[Tensor, "b h n d"],
    weight: Float[Tensor, "d d"] | None,
    bias: Float[Tensor, " d"] | None,
    mix: Float[Tensor, " h"] | None,
) -> Float[Tensor, "b h n d"]:
    """Project the linear branch and add it, or mix both by a ratio for each head."""
    if weight is not None:
        bias = None if bias is None else bias.to(linear.dtype)
        linear = F.linear(linear, weight.to(linear.dtype), bias)
    if mix is None:
        return sparse + linear
    return torch.lerp(linear, sparse, mix.to(linear.dtype)[:, None, None])


def _both(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    selection: BlockSelection,
    scale: float,
    scope: str,
    feature_map: str,
    eps: float,
    backend: str,
) -> Tensor:
    """Run the operator that computes both branches and their sum."""
    leaves = [x for x in (q, k, v, weight, bias) if x is not None]
    out: Tensor = torch.ops.sla_kernels.sla_forward(
        torch.is_grad_enabled() and any(x.requires_grad for x in leaves),
        q,
        k,
        v,
        weight,
        bias,
        selection.indices,
        selection.counts,
        selection.negligible,
        selection.token_order(),
        selection.num_pinned,
        *selection.block,
        scale,
        scope,
        feature_map,
        eps,
        backend,
    )[0]
    return out
