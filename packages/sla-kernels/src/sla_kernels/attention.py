"""Sparse linear attention: the sparse branch plus the projected linear branch."""

from typing import Literal, NamedTuple, TypedDict, Unpack, overload

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels import op as op
from sla_kernels.backend import Runs, Selection, resolve
from sla_kernels.chosen import given_or_chosen
from sla_kernels.linear.attention import added, linear_attention
from sla_kernels.linear.rule import Rule, check_scope, rule_of
from sla_kernels.order.given import Ordering
from sla_kernels.runtime.autocast import under_autocast
from sla_kernels.runtime.checks import (
    check_attention_inputs,
    check_no_tangents,
    check_projection,
)
from sla_kernels.select.selection import BlockSelection
from sla_kernels.sparse.attention import sparse_attention


class Branches(NamedTuple):
    """The output and its parts."""

    out: Float[Tensor, "b h n d"]
    sparse: Float[Tensor, "b h n d"]
    linear: Float[Tensor, "b h n d"]  # before the projection


class Sum(NamedTuple):
    """How the branches are added: sparse + (weight linear + bias), or mixed by head."""

    weight: Float[Tensor, "d d"] | None = None
    bias: Float[Tensor, " d"] | None = None
    mix: Float[Tensor, " h"] | None = None


class Options(TypedDict, total=False):
    """The keywords of `sla_attention` that do not change the type of what it returns."""

    keep: float | int | None
    selection: Selection | None
    block: tuple[int, int]
    order: str | Ordering
    summary: int | tuple[int, ...] | None
    opened: int
    axes: int | Tensor
    weight: Tensor | None
    bias: Tensor | None
    mix: Tensor | None
    feature_map: str
    linear: str | None
    negligible: float
    pinned: Tensor | None
    scale: float | None
    eps: float
    backend: str


@overload
def sla_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    return_branches: Literal[False] = False,
    **options: Unpack[Options],
) -> Tensor: ...


@overload
def sla_attention(
    q: Tensor, k: Tensor, v: Tensor, *, return_branches: Literal[True], **options: Unpack[Options]
) -> Branches: ...


def sla_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    *,
    keep: float | int | None = None,
    selection: Selection | None = None,
    block: tuple[int, int] = (128, 64),
    order: str | Ordering = "sequence",
    summary: int | tuple[int, ...] | None = None,
    opened: int = 20,
    axes: int | Float[Tensor, "c a"] = 8,
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
    - `order`, `summary`, `opened`, `axes`: as in `select_rows`. With order="content" or a summary,
      o_s is the softmax over few exact blocks and the summaries of all other keys together, and
      the linear branch, if there is one, sees all keys.
    - `mix`: a ratio for each head; then out = mix o_s + (1 - mix) (weight o_l + bias)
      (SLA2, arXiv 2602.12675, with one ratio a head).
    - `feature_map`: phi, "softmax" over the head width, "elu1" (elu + 1) or "relu".
    - `linear`: the scope. "all" keys; the "complement" of the kept blocks; "marginal", the
      complement less the negligible blocks; None for no linear branch. Pinned keys are attended
      exactly, so only "all" holds them; a pinned query has an empty complement, where o_l is 0.
    - `return_branches`: return `Branches(out, sparse, linear)` instead.
    - `backend`: "eager" (blocked, by PyTorch's own products), "triton", "flex" (compiled, CPU, no
      gradient), "reference" (quadratic), "dense" (`scaled_dot_product_attention` for the sparse
      branch, only where every block is kept), or "auto", which `explain` puts into words.

    Differentiable in q, k, v, weight, bias and mix, not through the selection.
    Raises ValueError where an argument cannot work.
    """
    q, k, v = under_autocast(q, k, v)
    check_attention_inputs(q, k, v)
    check_projection(weight, bias, mix, q, linear=linear is not None)
    rule = rule_of(linear, feature_map, eps, negligible)
    if rule is None and (mix is not None or return_branches):
        raise ValueError(
            "linear=None with mix or return_branches; these need a linear branch: pass linear='all'"
        )
    selection = given_or_chosen(
        selection, q, k, v, keep=keep, block=block, order=order, summary=summary, opened=opened,
        axes=axes, pinned=pinned, scale=scale, negligible=negligible,
    )  # fmt: skip
    check_scope(rule, selection)
    runs = resolve(backend, q, selection, linear=rule is not None)
    scale = q.shape[3] ** -0.5 if scale is None else scale
    if rule is not None and return_branches:
        return branches(q, k, v, selection, scale, rule, Sum(weight, bias, mix), runs)
    return attend(q, k, v, selection, scale, rule, Sum(weight, bias, mix), runs)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: Selection,
    scale: float,
    rule: Rule | None,
    how: Sum,
    runs: Runs,
) -> Tensor:
    """Return the sum of the branches; both in one operator where the backend has it."""
    if rule is None:
        return sparse_attention(q, k, v, selection, scale, runs.sparse)
    fused = runs.sparse in ("eager", "triton") and isinstance(selection, BlockSelection)
    if not fused or how.mix is not None:
        return branches(q, k, v, selection, scale, rule, how, runs).out
    leaves = [x for x in (q, k, v, how.weight, how.bias) if x is not None]
    check_no_tangents(*leaves)
    training = torch.is_grad_enabled() and any(x.requires_grad for x in leaves)
    out: Tensor = torch.ops.sla_kernels.sla_attention_forward(
        training, q, k, v, how.weight, how.bias, *selection.lists, scale, *rule, runs.sparse
    )[0]
    return out


def branches(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selection: Selection,
    scale: float,
    rule: Rule,
    how: Sum,
    runs: Runs,
) -> Branches:
    """Return the sum of the branches and each of them."""
    sparse = sparse_attention(q, k, v, selection, scale, runs.sparse)
    linear = linear_attention(q, k, v, selection, rule, runs.linear)
    return Branches(added(sparse, linear, *how), sparse, linear)
