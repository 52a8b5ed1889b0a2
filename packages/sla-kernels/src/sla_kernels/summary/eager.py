"""Listed rows on the CPU: gathered whole, a cache full of blocks at a time, in matrix products.

Few, large calls: what other processes take from a core then costs little more than their share.
Products run in float32 (float64 for float64), so that rounded types round their inputs alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from sla_kernels.select.blocks import num_blocks
from sla_kernels.summary.rows import Rows

BATCH_BYTES = 4 << 20  # of gathered keys, values and scores: about what a core's cache holds


class _Flat(NamedTuple):
    """Rows of all heads in one table, and query blocks with their lists, all heads in turn."""

    keys: Float[Tensor, "rows d"]
    values: Float[Tensor, "rows d"]
    bias: Float[Tensor, " rows"]
    lists: Int[Tensor, "blocks listed"]

    def batches(self, block_q: int) -> Iterator[slice]:
        """Runs of query blocks that fit the cache together."""
        listed, d = self.lists.shape[1], self.keys.shape[1]
        each = listed * (2 * d + 2 * block_q) * self.keys.element_size()
        step = max(1, BATCH_BYTES // each)
        for start in range(0, self.lists.shape[0], step):
            yield slice(start, start + step)

    def gather(self, batch: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keys, values and bias of a batch, and their rows."""
        rows = self.lists[batch]
        shape = (*rows.shape, -1)
        flat = rows.flatten()
        keys, values = (x.index_select(0, flat).view(shape) for x in (self.keys, self.values))
        return keys, values, self.bias.index_select(0, flat).view(len(rows), 1, -1), flat


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
    for batch in flat.batches(block_q):
        keys, values, bias, _ = flat.gather(batch)
        scores = torch.baddbmm(bias, blocks[batch], keys.mT, alpha=scale)
        torch.bmm(scores.softmax(-1), values, out=out[batch])
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
    for batch in flat.batches(block_q):
        keys, values, bias, at = flat.gather(batch)
        weights = torch.baddbmm(bias, blocks[batch], keys.mT, alpha=scale).softmax(-1)
        d_weights = grads[batch] @ values.mT
        d_values.index_add_(0, at, (weights.mT @ grads[batch]).flatten(0, 1))
        d_weights -= (weights * d_weights).sum(-1, keepdim=True)
        d_scores = d_weights.mul_(weights).mul_(scale)
        torch.bmm(d_scores, keys, out=dq[batch])
        d_keys.index_add_(0, at, (d_scores.mT @ blocks[batch]).flatten(0, 1))
    return _joined(dq, q).to(q.dtype), d_keys.view_as(rows.keys), d_values.view_as(rows.values)


def _flat(rows: Rows, lists: Int[Tensor, "b h i r"]) -> _Flat:
    batch, key_heads, count, _ = rows.keys.shape
    group = lists.shape[1] // key_heads
    starts = torch.arange(batch * key_heads, device=lists.device) * count
    starts = starts.repeat_interleave(group).view(batch, -1, 1, 1)
    keys, values = (rearrange(x, "b g m d -> (b g m) d") for x in rows[:2])
    return _Flat(
        keys=keys,
        values=values,
        bias=rearrange(rows.bias, "b g m -> (b g m)"),
        lists=rearrange(lists + starts, "b h i r -> (b h i) r"),
    )


def _blocked(q: Float[Tensor, "b h n d"], block_q: int) -> Float[Tensor, "blocks q d"]:
    missing = num_blocks(q.shape[2], block_q) * block_q - q.shape[2]
    q = F.pad(q, (0, 0, 0, missing)) if missing else q
    return rearrange(q, "b h (i q) d -> (b h i) q d", q=block_q)


def _joined(blocks: Float[Tensor, "blocks q d"], like: Tensor) -> Float[Tensor, "b h n d"]:
    b, h, n = like.shape[:3]
    return rearrange(blocks, "(b h i) q d -> b h (i q) d", b=b, h=h)[:, :, :n]
