"""Listed rows without kernels: gathered whole, many blocks at a time, in matrix products.

On a CPU they fill a core's cache. Few, large calls: what other processes take from a core then
costs little more than their share.
Products run in bfloat16 for bfloat16 where the processor multiplies it, else in at least float32.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from sla_kernels.runtime.parts import at_once
from sla_kernels.runtime.passes import passes_for
from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.rows import Rows

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


def _batches(flat: _Flat, block_q: int) -> Iterator[_Batch]:
    """Runs of query blocks, on a CPU as fit its cache, gathered into the same memory."""
    blocks, listed = flat.lists.shape
    d = flat.keys.shape[1]
    each = listed * (2 * d + 2 * block_q) * flat.keys.element_size()
    step = min(blocks, at_once(each, flat.keys, BATCH_BYTES))
    keys, values = (flat.keys.new_empty(step * listed, d) for _ in range(2))
    bias, scores = flat.bias.new_empty(step * listed), flat.keys.new_empty(step, block_q, listed)
    for start in range(0, blocks, step):
        count = min(step, blocks - start)
        here = slice(start, start + count)
        rows = (flat.lists[here] + flat.starts[here]).flatten()
        for table, room in ((flat.keys, keys), (flat.values, values), (flat.bias, bias)):
            torch.index_select(table, 0, rows, out=room[: count * listed])
        yield _Batch(
            here,
            rows,
            keys[: count * listed].view(count, listed, d),
            values[: count * listed].view(count, listed, d),
            bias[: count * listed].view(count, 1, listed),
            scores[:count],
        )


def _weights(batch: _Batch, queries: Float[Tensor, "i q d"], scale: float) -> Tensor:
    """Softmax of the scores, in the memory of the scores."""
    passes = passes_for(batch.scores)
    if passes:
        torch.bmm(queries, batch.keys.mT, out=batch.scores)
        passes.soften(batch.scores, batch.bias, scale)
        return batch.scores
    bias = batch.bias.to(batch.scores)
    scores = torch.baddbmm(bias, queries, batch.keys.mT, alpha=scale, out=batch.scores)
    return torch.softmax(scores, -1, out=scores)


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
    starts = starts.repeat_interleave(group * lists.shape[2])
    keys, values = (rearrange(x, "b g m d -> (b g m) d") for x in rows[:2])
    return _Flat(
        keys=keys,
        values=values,
        bias=rearrange(rows.bias, "b g m -> (b g m)"),
        lists=rearrange(lists, "b h i r -> (b h i) r"),  # one list of all blocks stays one
        starts=rearrange(starts, "blocks -> blocks 1"),
    )


def _blocked(q: Float[Tensor, "b h n d"], block_q: int) -> Float[Tensor, "blocks q d"]:
    missing = num_blocks(q.shape[2], block_q) * block_q - q.shape[2]
    q = F.pad(q, (0, 0, 0, missing)) if missing else q
    return rearrange(q, "b h (i q) d -> (b h i) q d", q=block_q)


def _joined(blocks: Float[Tensor, "blocks q d"], like: Tensor) -> Float[Tensor, "b h n d"]:
    b, h, n = like.shape[:3]
    return rearrange(blocks, "(b h i) q d -> b h (i q) d", b=b, h=h)[:, :, :n]
