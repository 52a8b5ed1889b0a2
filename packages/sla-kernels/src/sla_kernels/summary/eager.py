"""Listed rows without kernels: gathered whole, many blocks at a time, in matrix products.

On a CPU as many as fit a core's cache. Where passes attend rows (`sla_kernels.passes.attention`)
the backward pass alone comes here. Products run in bfloat16 for bfloat16 where the processor
multiplies it, else in at least float32.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from sla_kernels.runtime.parts import at_once
from sla_kernels.runtime.passes import passes_for
from sla_kernels.runtime.products import product_type
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.layout import RowLists
from sla_kernels.summary.rows import ABSENT, Rows, shifted, work_of

BATCH_BYTES = 4 << 20  # of gathered keys, values and scores: about what a core's cache holds


class _Flat(NamedTuple):
    """Rows of all heads in one table, and query blocks with their lists, all heads in turn."""

    keys: Float[Tensor, "rows d"]
    values: Float[Tensor, "rows d"]
    bias: Float[Tensor, " rows"]
    lists: Int[Tensor, "blocks listed"]  # counted from the first row of the block's head
    starts: Int[Tensor, "blocks 1"]  # where that stands in the table


class _Batch(NamedTuple):
    """Some query blocks with their gathered rows."""

    blocks: slice
    rows: Int[Tensor, " flat"]
    keys: Float[Tensor, "i listed d"]
    values: Float[Tensor, "i listed d"]
    bias: Float[Tensor, "i 1 listed"]  # float32
    scores: Float[Tensor, "i q listed"]  # room for them


class _Room(NamedTuple):
    """Memory that the rows of some query blocks are gathered into, one batch after another."""

    keys: Float[Tensor, "rows d"]
    values: Float[Tensor, "rows d"]
    bias: Float[Tensor, " rows"]
    scores: Float[Tensor, "i q listed"]

    @classmethod
    def of(cls, flat: _Flat, blocks: int, block_q: int) -> "_Room":
        """Room for so many blocks."""
        listed = flat.lists.shape[1]
        keys, values = (x.new_empty(blocks * listed, x.shape[1]) for x in flat[:2])
        scores = flat.keys.new_empty(blocks, block_q, listed)
        return cls(keys, values, flat.bias.new_empty(blocks * listed), scores)

    def gather(self, flat: _Flat, here: slice) -> _Batch:
        """The rows of these blocks."""
        count, listed = here.stop - here.start, flat.lists.shape[1]
        rows = (flat.lists[here] + flat.starts[here]).flatten()
        found = [room[: count * listed] for room in self[:3]]
        for table, room in zip(flat[:3], found, strict=True):
            torch.index_select(table, 0, rows, out=room)
        keys, values = (room.view(count, listed, -1) for room in found[:2])
        return _Batch(
            here, rows, keys, values, found[2].view(count, 1, listed), self.scores[:count]
        )


def _batches(flat: _Flat, block_q: int) -> Iterator[_Batch]:
    """Runs of query blocks, gathered into the same memory; none is much smaller than others."""
    blocks, listed = flat.lists.shape
    each = listed * (2 * flat.keys.shape[1] + 2 * block_q) * flat.keys.element_size()
    runs = num_blocks(blocks, at_once(each, flat.keys, BATCH_BYTES))
    step = num_blocks(blocks, runs)
    room = _Room.of(flat, step, block_q)
    for start in range(0, blocks, step):
        yield room.gather(flat, slice(start, min(start + step, blocks)))


def _weights(batch: _Batch, queries: Float[Tensor, "i q d"], scale: float) -> Tensor:
    """Softmax of the scores, in the memory of the scores."""
    bias = batch.bias.to(batch.scores)
    scores = torch.baddbmm(bias, queries, batch.keys.mT, alpha=scale, out=batch.scores)
    return torch.softmax(scores, -1, out=scores)


def attend_by_passes(
    out: Float[Tensor, "b h n d"],
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    lists: RowLists,
    scale: float,
) -> None:
    """Write what all queries find, pinned ones too, where they stand."""
    orders = lists.outside.expand(len(q), -1), lists.order
    if q.shape[2] != k.shape[2]:
        sequence = torch.arange(q.shape[2], device=q.device).expand(len(q), -1)
        orders = sequence[:, :0], sequence
    rows, layout = rows_on_cpu(k, v, lists), lists.layout(k.shape[2])
    passes = import_module("sla_kernels.passes.calls")
    passes.attend(q, rows, lists.rows, orders, layout, lists.block_q, scale, out)


def rows_on_cpu(k: Float[Tensor, "b g m d"], v: Float[Tensor, "b g m d"], lists: RowLists) -> Rows:
    """Rows in the type that they are multiplied in, where no gradient is asked for."""
    passes, layout = passes_for(k, v), lists.layout(k.shape[2])
    if not passes:
        return work_of(k, v, lists, product_type(k)).rows
    rows = Rows(*passes.laid_out(k, v, lists.order, lists.outside, lists.tilt, layout))
    rows.bias[:, :, layout.nothing] = ABSENT
    return shifted(rows, lists.offsets, layout)


def summary_attention_forward(
    q: Float[Tensor, "b h n d"],
    rows: Rows,
    lists: Int[Tensor, "b h i r"],
    block_q: int,
    scale: float,
) -> Float[Tensor, "b h n d"]:
    """Attend the listed rows with ordered queries."""
    flat, blocks = _flat(rows, lists), _blocked(q, block_q).to(rows.keys)
    out = torch.empty_like(blocks)
    for batch in _batches(flat, block_q):
        weights = _weights(batch, blocks[batch.blocks], scale)
        torch.bmm(weights, batch.values, out=out[batch.blocks])
    return _joined(out, q).to(q.dtype)


def summary_attention_backward(
    grad: Float[Tensor, "b h n d"],
    q: Float[Tensor, "b h n d"],
    rows: Rows,
    lists: Int[Tensor, "b h i r"],
    block_q: int,
    scale: float,
) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b g m d"], Float[Tensor, "b g m d"]]:
    """Return the gradients of the queries and of the rows' keys and values."""
    flat = _flat(rows, lists)
    blocks, grads = (_blocked(x, block_q).to(rows.keys) for x in (q, grad))
    dq = torch.empty_like(blocks)
    d_keys, d_values = (torch.zeros_like(x) for x in flat[:2])
    for batch in _batches(flat, block_q):
        queries, pulled = blocks[batch.blocks], grads[batch.blocks]
        weights = _weights(batch, queries, scale)
        d_weights = pulled @ batch.values.mT
        d_values.index_add_(0, batch.rows, (weights.mT @ pulled).flatten(0, 1))
        d_weights -= (weights * d_weights).sum(-1, keepdim=True)
        d_scores = d_weights.mul_(weights).mul_(scale)
        torch.bmm(d_scores, batch.keys, out=dq[batch.blocks])
        d_keys.index_add_(0, batch.rows, (d_scores.mT @ queries).flatten(0, 1))
    return _joined(dq, q).to(q.dtype), d_keys.view_as(rows.keys), d_values.view_as(rows.values)


def _flat(rows: Rows, lists: Int[Tensor, "b h i r"]) -> _Flat:
    batch, key_heads, count, _ = rows.keys.shape
    group = lists.shape[1] // key_heads
    reach = torch.int32 if batch * key_heads * count < 2**31 else torch.int64
    starts = torch.arange(batch * key_heads, dtype=reach, device=lists.device) * count
    keys, values, bias = (x.flatten(0, 2) for x in rows)
    return _Flat(
        keys=keys,
        values=values,
        bias=bias,
        lists=lists.flatten(0, 2),  # one list of all blocks stays one
        starts=starts[:, None].expand(-1, group * lists.shape[2]).reshape(-1, 1),
    )


def _blocked(q: Float[Tensor, "b h n d"], block_q: int) -> Float[Tensor, "blocks q d"]:
    missing = num_blocks(q.shape[2], block_q) * block_q - q.shape[2]
    q = F.pad(q, (0, 0, 0, missing)) if missing else q
    return rearrange(q, "b h (i q) d -> (b h i) q d", q=block_q)


def _joined(blocks: Float[Tensor, "blocks q d"], like: Tensor) -> Float[Tensor, "b h n d"]:
    b, h, n = like.shape[:3]
    return rearrange(blocks, "(b h i) q d -> b h (i q) d", b=b, h=h)[:, :, :n]
