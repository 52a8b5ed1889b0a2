"""The rows that queries attend: ordered tokens, cells with their weighted means, pinned tokens."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.runtime.passes import passes_for
from sla_kernels.runtime.products import at_least_float32, product_type
from sla_kernels.summary.cells import cell_sums, raised
from sla_kernels.summary.layout import Layout, RowLists
from sla_kernels.summary.weights import Weights, weights_of

ABSENT = -1e30  # a bias that no score makes up for


class Rows(NamedTuple):
    """Keys, values and the bias of every row, see `Layout`."""

    keys: Float[Tensor, "b g rows d"]
    values: Float[Tensor, "b g rows d"]
    bias: Float[Tensor, "b g rows"]


class Work(NamedTuple):
    """What passes start from."""

    layout: Layout
    weights: Weights
    rows: Rows


def work_of(
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    lists: RowLists,
    dtype: torch.dtype | None,
) -> Work:
    """Weights and rows, keys and values in `dtype` or else in at least float32."""
    layout = lists.layout(k.shape[2])
    weights = weights_of(lists.tilt, layout)
    rows = rows_of(k, v, lists.order, lists.outside, weights, layout, dtype)
    return Work(layout, weights, shifted(rows, lists.offsets, layout))


def ordered(
    x: Float[Tensor, "b h n d"], order: Int64[Tensor, "b free"], size: int
) -> Float[Tensor, "b h padded d"]:
    """Tokens in order, padded to whole cells, in the type that they are multiplied in."""
    return permuted(x, order, size).to(product_type(x))


def permuted(
    x: Float[Tensor, "b h n d"], order: Int64[Tensor, "b free"], size: int = 1
) -> Float[Tensor, "b h free_and_more d"]:
    """Tokens in each scene's own order, padded with zeros to whole runs of `size`."""
    passes = passes_for(x)
    if passes:
        found: Tensor = passes.put_in_order(x, order, size)
        return found
    if len(x) == 1:  # nothing to stack: saves a copy
        made = x[0].index_select(1, order[0])[None]
    else:
        pairs = zip(x, order, strict=True)
        made = torch.stack([part.index_select(1, here) for part, here in pairs])
    missing = -made.shape[2] % size
    return F.pad(made, (0, 0, 0, missing)) if missing else made


def rows_of(
    k: Float[Tensor, "b g n d"],
    v: Float[Tensor, "b g n d"],
    order: Int64[Tensor, "b free"],
    outside: Int64[Tensor, " pinned"],
    weights: Weights,
    layout: Layout,
    dtype: torch.dtype | None = None,
) -> Rows:
    """Lay out all rows, keys and values in `dtype`, or in at least float32 where it is None.

    Means are computed in at least float32 and rounded once; the bias is in at least float32.
    """
    exact = at_least_float32(k)
    keys, values = (_laid_out(x, order, outside, weights, layout, dtype or exact) for x in (k, v))
    bias = keys.new_zeros(keys.shape[:3], dtype=exact)
    for level, entropy in enumerate(weights.entropies):
        bias[:, :, layout.first(level) : layout.first(level + 1)] = entropy
    bias[:, :, layout.nothing] = ABSENT
    return Rows(keys, values, bias)


def shifted(rows: Rows, offsets: Float[Tensor, "g _"] | None, layout: Layout) -> Rows:
    """Add to the bias of cells, by key head and size, in place."""
    for level in range(len(layout.sizes) if offsets is not None else 0):
        cells = slice(layout.first(level), layout.first(level + 1))
        rows.bias[:, :, cells] += offsets[:, level, None].to(rows.bias)  # type: ignore[index]
    return rows


def _laid_out(
    x: Tensor, order: Tensor, outside: Tensor, weights: Weights, layout: Layout, dtype: torch.dtype
) -> Float[Tensor, "b g rows d"]:
    out = room_for(x, outside, layout, dtype)
    for scene, here, made in zip(x, order, out, strict=True):
        made[:, : layout.tokens] = scene.index_select(1, here)
    tokens = out[:, :, : layout.padded]
    sums = raised(cell_sums(tokens, layout.sizes[0], weights.shares), layout)
    for level, (total, share) in enumerate(zip(sums, weights.totals, strict=True)):
        torch.div(total, share, out=out[:, :, layout.first(level) : layout.first(level + 1)])
    return out


def room_for(
    x: Float[Tensor, "b g n d"],
    outside: Int64[Tensor, " pinned"],
    layout: Layout,
    dtype: torch.dtype,
) -> Float[Tensor, "b g rows d"]:
    """Room for all rows; what is no ordered token and no cell stands there."""
    b, g, _, d = x.shape
    out = torch.empty((b, g, layout.rows, d), dtype=dtype, device=x.device)
    out[:, :, layout.first(len(layout.sizes)) : layout.nothing] = x.index_select(2, outside)
    out[:, :, layout.tokens : layout.padded] = 0
    out[:, :, layout.nothing] = 0
    return out


def back_to_tokens(
    grad: Float[Tensor, "b g rows d"],
    order: Int64[Tensor, "b free"],
    outside: Int64[Tensor, " pinned"],
    weights: Weights,
    layout: Layout,
    like: Float[Tensor, "b g n d"],
) -> Float[Tensor, "b g n d"]:
    """Pull a gradient of `rows_of` back to the tokens: each gets its share of its cells'."""
    made = grad[:, :, : layout.padded].clone()
    shares = weights.shares[..., None]
    for level, total in enumerate(weights.totals):
        cell = grad[:, :, layout.first(level) : layout.first(level + 1)] / total
        size = layout.sizes[level]
        made += shares * cell.repeat_interleave(size, 2)[:, :, : layout.padded]
    out = torch.zeros(like.shape, dtype=grad.dtype, device=grad.device)
    for part, here, tokens in zip(out, order, made, strict=True):
        part[:, here] = tokens[:, : layout.tokens]
    last = layout.first(len(layout.sizes))
    out[:, :, outside] = grad[:, :, last : layout.nothing]
    return out
