"""The sparse branch on any CPU: gathered key blocks through PyTorch's fused CPU kernels.

Query blocks whose lists have equal length form one batch: their key and value blocks are gathered
side by side, a cache-sized batch at a time, and go through the flash kernel of PyTorch. A row of
the batch holds every key its queries attend, so its log-sum-exp is final and the backward pass
needs no second look: it runs the same batches through the kernel's own backward and adds the
gathered key and value gradients up in float32. Memory beyond inputs and outputs is O(N).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels.select.blocks import num_blocks
from sla_kernels.sparse.lists import BlockLists

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

BATCH_BYTES = 1 << 20  # gathered keys of one batch; keys, values and queries then share the cache
HEADS_ELEMENTS = 1 << 19  # key elements of the heads handled together


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type that sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True, kw_only=True)
class _Heads:
    """Some heads of one batch entry, as rows of blocks."""

    batch: int
    keys: slice  # heads of k and v
    queries: slice  # heads of q


def _heads(q: Tensor, k: Tensor) -> Iterator[_Heads]:
    group = q.shape[1] // k.shape[1]
    step = max(1, HEADS_ELEMENTS // (k.shape[2] * k.shape[3]))
    for batch in range(k.shape[0]):
        for start in range(0, k.shape[1], step):
            end = min(start + step, k.shape[1])
            yield _Heads(
                batch=batch, keys=slice(start, end), queries=slice(start * group, end * group)
            )


def blocked(x: Tensor, size: int) -> Tensor:
    """Cut `x` (heads, tokens, width) into (heads * blocks, size, width), the last zero-padded."""
    if x.shape[1] % size:
        x = F.pad(x, (0, 0, 0, -x.shape[1] % size))
    return x.reshape(-1, size, x.shape[2])


def unblocked(rows: Tensor, heads: int, tokens: int) -> Tensor:
    """Undo `blocked`."""
    return rows.reshape(heads, -1, *rows.shape[2:])[:, :tokens]


class _Keys:
    """Key or value blocks of some heads, gathered for batches of query blocks."""

    def __init__(self, x: Tensor, block: int, pinned: int) -> None:
        self.free, self.pinned, self.block = x.shape[1] - pinned, pinned, block
        self.blocks = blocked(x[:, : self.free], block).flatten(1)  # [heads * blocks, block * d]
        self.fixed = x[:, self.free :]

    def gather(self, batch: "_Batch") -> Tensor:
        """Return (rows, 1, length, d): pinned keys first, then the blocks, cut at the true end."""
        rows = batch.blocks.shape[0]
        found = self.blocks.index_select(0, batch.blocks.flatten())
        found = found.view(rows, -1, self.fixed.shape[2])
        if self.pinned:
            found = torch.cat([self.fixed[batch.heads], found], 1)
        return found[:, None, : batch.length]


class _KeyGradients:
    """Sums of gathered key or value gradients, in the accumulator's type."""

    def __init__(self, keys: _Keys) -> None:
        dtype = accumulator(keys.blocks.dtype)
        self.keys = keys
        self.blocks = torch.zeros_like(keys.blocks, dtype=dtype)
        self.fixed = torch.zeros_like(keys.fixed, dtype=dtype)

    def add(self, gradient: Tensor, batch: "_Batch") -> None:
        rows = batch.blocks.shape[0]
        pinned, width = self.keys.pinned, batch.blocks.shape[1] * self.keys.block
        gradient = gradient[:, 0].to(self.blocks.dtype)
        if pinned:
            self.fixed.index_add_(0, batch.heads, gradient[:, :pinned])
        free = gradient[:, pinned:]
        if batch.length < pinned + width:
            free = F.pad(free, (0, 0, 0, pinned + width - batch.length))
        self.blocks.index_add_(
            0, batch.blocks.flatten(), free.reshape(rows * batch.blocks.shape[1], -1)
        )

    def total(self) -> Tensor:
        free = unblocked(
            self.blocks.view(-1, self.keys.block, self.fixed.shape[2]),
            self.fixed.shape[0],
            self.keys.free,
        )
        return torch.cat([free, self.fixed], 1) if self.keys.pinned else free


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Query blocks that attend equally many keys."""

    rows: Tensor  # which query blocks
    heads: Tensor  # the key head of each
    blocks: Tensor  # the key blocks of each, counted through all heads
    length: int  # attended keys, pinned ones included


def _batches(lists: BlockLists, heads: _Heads, free_keys: int, width: int) -> Iterator[_Batch]:
    """Group the rows of some heads by length and cut the groups to the cache."""
    key_blocks = num_blocks(free_keys, lists.block_k)
    indices = lists.indices[heads.batch, heads.queries]
    per_head = indices.shape[1] * (indices.shape[0] // (heads.keys.stop - heads.keys.start))
    indices, counts = (
        indices.flatten(0, 1).long(),
        lists.counts[heads.batch, heads.queries].flatten(),
    )
    head = torch.arange(indices.shape[0]) // per_head
    last = indices.gather(1, counts.long()[:, None] - 1)[:, 0]
    missing = torch.where(last == key_blocks - 1, key_blocks * lists.block_k - free_keys, 0)
    lengths = lists.pinned + counts * lists.block_k - missing
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        for part in rows.split(max(1, BATCH_BYTES // (length * width))):
            count = num_blocks(length - lists.pinned, lists.block_k)
            offset = head[part] * key_blocks
            yield _Batch(
                rows=part,
                heads=head[part],
                blocks=indices[part, :count] + offset[:, None],
                length=length,
            )


def _keeps_all(lists: BlockLists, k: Tensor) -> bool:
    """Whether every list holds every block, so that nothing need be gathered."""
    key_blocks = num_blocks(k.shape[2] - lists.pinned, lists.block_k)
    return lists.indices.shape[3] == key_blocks and int(lists.counts.min()) == key_blocks


def _whole(heads: _Heads, queries: tuple[Tensor, ...], keys: tuple[Tensor, ...]) -> list[Tensor]:
    """Some heads of query-like and key-like tensors, each key head repeated for its queries."""
    made = [x[heads.batch, heads.queries][None] for x in queries]
    group = queries[0].shape[1] // keys[0].shape[1]
    return made + [
        x[heads.batch, heads.keys].repeat_interleave(group, 0)[None]
        if group > 1
        else x[heads.batch, heads.keys][None]
        for x in keys
    ]


def sparse_forward(
    q: Tensor, k: Tensor, v: Tensor, lists: BlockLists, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the output and the log-sum-exp of every query, in units of the natural logarithm."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:3], dtype=accumulator(q.dtype), device=q.device)
    for heads in _heads(q, k):
        here, there = (heads.batch, heads.queries), (heads.batch, heads.keys)
        if _keeps_all(lists, k):
            out[here], lse[here] = _flash(*_whole(heads, (q,), (k, v)), scale=scale)
            continue
        keys, values = (_Keys(x[there], lists.block_k, lists.pinned) for x in (k, v))
        rows = blocked(q[here], lists.block_q)
        out_rows = torch.empty_like(rows)
        lse_rows = rows.new_empty(rows.shape[:2], dtype=lse.dtype)
        for batch in _batches(lists, heads, keys.free, q.shape[3] * q.element_size()):
            found = _flash(
                rows[batch.rows, None], keys.gather(batch), values.gather(batch), scale=scale
            )
            out_rows[batch.rows] = found[0][:, 0]
            lse_rows[batch.rows] = found[1][:, 0]
        group = heads.queries.stop - heads.queries.start
        out[here] = unblocked(out_rows, group, q.shape[2])
        lse[here] = unblocked(lse_rows, group, q.shape[2])
    return out, lse


def sparse_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    lists: BlockLists,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v."""
    made = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
    for heads in _heads(q, k):
        here, there = (heads.batch, heads.queries), (heads.batch, heads.keys)
        if _keeps_all(lists, k):
            grad_h, q_h, out_h, k_h, v_h = _whole(heads, (grad, q, out), (k, v))
            found = _flash_backward(
                grad_h, q_h, k_h, v_h, out_h, lse[here][None], 0.0, False, scale=scale
            )
            made[0][here] = found[0][0]
            group = q.shape[1] // k.shape[1]
            made[1][there], made[2][there] = (
                x[0].unflatten(0, (-1, group)).sum(1) for x in found[1:]
            )
            continue
        keys, values = (_Keys(x[there], lists.block_k, lists.pinned) for x in (k, v))
        sums = [_KeyGradients(x) for x in (keys, values)]
        rows = [blocked(x[here], lists.block_q) for x in (grad, q, out, lse[..., None])]
        grad_rows = torch.empty_like(rows[1])
        for batch in _batches(lists, heads, keys.free, q.shape[3] * q.element_size()):
            grad_b, q_b, out_b, lse_b = (x[batch.rows, None] for x in rows)
            found = _flash_backward(
                grad_b,
                q_b,
                keys.gather(batch),
                values.gather(batch),
                out_b,
                lse_b[..., 0],
                0.0,
                False,
                scale=scale,
            )
            grad_rows[batch.rows] = found[0][:, 0]
            sums[0].add(found[1], batch)
            sums[1].add(found[2], batch)
        group = heads.queries.stop - heads.queries.start
        made[0][here] = unblocked(grad_rows, group, q.shape[2])
        made[1][there], made[2][there] = sums[0].total(), sums[1].total()
    return made[0], made[1], made[2]
