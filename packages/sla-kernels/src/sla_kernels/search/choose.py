"""From queries and keys to an order, lists of rows and the weights of summaries: one operator."""

from importlib import import_module
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from sla_kernels.backend import has_kernels
from sla_kernels.order.axes import along, principal_axes
from sla_kernels.order.tokens import positions_of
from sla_kernels.runtime.library import is_writing_out, register
from sla_kernels.runtime.parts import by_heads
from sla_kernels.runtime.passes import passes_for
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.search.walk import Asking, Cells, log_mass, part_of, walk
from sla_kernels.select.blocks import free_positions, num_blocks
from sla_kernels.summary.cells import counts, mean_queries, means_and_spreads
from sla_kernels.summary.layout import Layout, budget_of
from sla_kernels.summary.rows import ordered, permuted
from sla_kernels.summary.weights import asked, lifted, tilts


class Plan(NamedTuple):
    """How rows are chosen, as the operator takes it.

    - `exact`: key blocks that each query block reads exactly, of `sizes[0]` tokens.
    - `opened`: cells that it opens at each larger size.
    - `content`: whether tokens are ordered by their keys; else they stay in sequence.
    - `axes`: how many principal axes the order looks at, where none are given.
    - `summaries`: whether what is not read exactly is listed as summaries.
    """

    exact: int
    opened: int
    block_q: int
    sizes: tuple[int, ...]
    content: bool
    axes: int
    summaries: bool
    scale: float


def choose_rows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    outside: Tensor,
    directions: Tensor | None,
    given: Tensor | None,
    plan: Plan,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return order `b free`, lists of rows `b h query_blocks listed`, and tilts `b g padded`.

    `outside` are the positions of the pinned tokens; `directions` axes for the order, or None;
    `given` the places of the others in their order, counted among themselves, or None.

    Raises ValueError where the operator is to be written out.
    """
    if is_writing_out():
        raise ValueError(
            f"sizes={tuple(plan.sizes)} of listed rows, written out; rows are found in steps that "
            "depend on values: choose blocks in sequence (order='sequence', summary=None), or "
            "every key (keep=1.0)"
        )
    order = _order(k, outside, directions, plan) if given is None else free(k, outside)[given]
    return order, *_found(q, k, v, outside, order, plan)


def _found(
    q: Tensor, k: Tensor, v: Tensor, outside: Tensor, order: Tensor, plan: Plan
) -> tuple[Tensor, Tensor]:
    """Lists of rows and tilts, by kernels where they take these sizes, else by PyTorch."""
    layout = _layout(k, outside, plan)
    if has_kernels(k.device):
        kernels = import_module("sla_kernels.search.launch")
        budget = budget_of(plan.exact, plan.opened, layout)
        if kernels.fits(q, layout, budget, plan.block_q):
            rows, tilt = kernels.found_rows(
                q, k, v, order, outside, layout, budget,
                block_q=plan.block_q, summaries=plan.summaries, scale=plan.scale,
            )  # fmt: skip
            return rows, lifted(tilt, layout)
    parts = by_heads(q, k)
    if len(parts) == 1:
        return _of_heads(q, k, v, outside, order, plan)
    rows = torch.empty(shape_of_rows(q, k, layout, plan), dtype=torch.int32, device=q.device)
    tilt = torch.empty((*k.shape[:2], layout.padded), dtype=at_least_float32(k), device=k.device)
    for keys, queries in parts:
        rows[:, queries], tilt[:, keys] = _of_heads(
            q[:, queries], k[:, keys], v[:, keys], outside, order, plan
        )
    return rows, tilt


def _of_heads(
    q: Tensor, k: Tensor, v: Tensor, outside: Tensor, order: Tensor, plan: Plan
) -> tuple[Tensor, Tensor]:
    """Lists of rows and tilts of some heads."""
    layout = _layout(k, outside, plan)
    budget = budget_of(plan.exact, plan.opened, layout)
    own = order if q.shape[2] == k.shape[2] else None
    passes = passes_for(q, k, v)
    if passes:
        of_queries = own
        if of_queries is None:
            of_queries = torch.arange(q.shape[2], device=q.device).expand(len(q), -1)
        made: tuple[Tensor, Tensor] = passes.found_rows(
            q, k, v, (of_queries, order), outside, layout, budget,
            block_q=plan.block_q, summaries=plan.summaries, scale=plan.scale,
        )  # fmt: skip
        return made
    asking = _asking(q, own, k, outside, plan)
    levels = _levels(k, v, order, layout)
    found = walk(asking, levels, layout, budget, summaries=plan.summaries)
    shape = {"b": q.shape[0], "h": q.shape[1]}
    left = rearrange(found.left, "(b h i) c -> b h i c", **shape)
    blocks = rearrange(asking.parts.mean(1), "(b h i) d -> b h i d", **shape) / plan.scale
    tilt = _tilts(asked(left, blocks, q.shape[1] // k.shape[1]), k, order, plan.scale, layout)
    return rearrange(found.rows, "(b h i) r -> b h i r", **shape).int(), lifted(tilt, layout)


def _levels(k: Tensor, v: Tensor, order: Tensor, layout: Layout) -> list[Cells]:
    """The cells of every size."""
    like = k.new_empty(0, dtype=at_least_float32(k))
    held = [counts(layout, level, like) for level in range(len(layout.sizes))]
    tokens = (ordered(x, order, layout.sizes[0]) for x in (k, v))
    (means, one), (_, other) = (means_and_spreads(x, layout) for x in tokens)
    more = [room - len(count) for room, count in zip(layout.rooms, held, strict=True)]
    spreads = (key * value for key, value in zip(one, other, strict=True))
    return [Cells.of(*given) for given in zip(means, spreads, held, more, strict=True)]


def _tilts(asked: Tensor, k: Tensor, order: Tensor, scale: float, layout: Layout) -> Tensor:
    """How each token scores in its coarse cell; minus infinity on padding."""
    tilt = tilts(asked, ordered(k, order, layout.sizes[0]), scale, layout.sizes[-1])
    tilt[:, :, layout.tokens :] = -torch.inf
    return tilt


def _layout(k: Tensor, outside: Tensor, plan: Plan) -> Layout:
    pinned = outside.shape[0]
    return Layout(k.shape[2] - pinned, pinned, tuple(plan.sizes))


def shape_of_rows(q: Tensor, k: Tensor, layout: Layout, plan: Plan) -> tuple[int, ...]:
    """Batch entries, heads, query blocks and the length of their lists."""
    queries = layout.tokens if q.shape[2] == k.shape[2] else q.shape[2]
    budget = budget_of(plan.exact, plan.opened, layout)
    listed = budget.listed(layout, plan.summaries)
    return *q.shape[:2], num_blocks(queries, plan.block_q), listed


def _order(k: Tensor, outside: Tensor, directions: Tensor | None, plan: Plan) -> Tensor:
    """Positions of the tokens that are not pinned, in order."""
    tokens = free(k, outside)
    if not plan.content:
        return tokens.expand(k.shape[0], -1).contiguous()
    if directions is None:
        x = rearrange(k.index_select(2, tokens), "b g n d -> b n (g d)")
        directions = principal_axes(x.nan_to_num(0, 0, 0), plan.axes)
    features = _features(k, directions.to(k.dtype))
    features = features.index_select(1, tokens) if outside.shape[0] else features
    return tokens[positions_of(features, tuple(plan.sizes))]


def _features(k: Tensor, directions: Tensor) -> Tensor:
    """Keys of all heads along the axes, `b n a`; what is not finite is zero."""
    if has_kernels(k.device):
        kernels = import_module("sla_kernels.order.launch")
        if kernels.reads(k, directions):
            found: Tensor = kernels.features_of(k, directions)
            return found
    by_head = rearrange(directions, "(g d) a -> g d a", g=k.shape[1])
    return along(k, by_head).sum(1).nan_to_num(0, 0, 0)


def free(k: Tensor, outside: Tensor) -> Tensor:
    """Positions of the tokens that are not pinned, in sequence."""
    return free_positions(k.shape[2], outside)


def _asking(q: Tensor, own: Tensor | None, k: Tensor, outside: Tensor, plan: Plan) -> Asking:
    """Means of parts of query blocks, and what each gives to pinned tokens."""
    size, count = part_of(plan.block_q), q.shape[2] if own is None else own.shape[1]
    blocks, per_block = num_blocks(count, plan.block_q), plan.block_q // size
    queries = q if own is None else permuted(q, own)
    parts = mean_queries(queries, blocks * per_block, size) * plan.scale
    group = q.shape[1] // k.shape[1]
    pinned = log_mass(
        parts, repeat(k.index_select(2, outside).to(parts), "b g p d -> b (g r) p d", r=group)
    )
    empty = torch.arange(blocks * per_block, device=q.device) * size >= count
    pinned = pinned.nan_to_num(-torch.inf).masked_fill(empty[:, None], torch.inf)
    heads = torch.arange(k.shape[0] * k.shape[1], device=q.device)
    return Asking(
        rearrange(parts, "b h (i r) d -> (b h i) r d", r=per_block),
        rearrange(pinned, "b h (i r) 1 -> (b h i) r 1", r=per_block),
        repeat(heads, "x -> (x i) 1", i=group * blocks),
    )


def fake_choose(q: Tensor, k: Tensor, outside: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Say what the operator returns, from shapes alone."""
    layout = _layout(k, outside, plan)
    return (
        q.new_empty((q.shape[0], layout.tokens), dtype=torch.int64),
        q.new_empty(shape_of_rows(q, k, layout, plan), dtype=torch.int32),
        k.new_empty((*k.shape[:2], layout.padded), dtype=at_least_float32(k)),
    )


register(choose_rows, fake_choose)
