"""The sparse branch without kernels of its own: gathered key blocks through PyTorch's attention.

Query blocks whose lists have equal length form one batch: their key and value blocks are gathered
side by side, a cache-sized batch at a time, and go through the flash kernel of PyTorch, which a CPU
has; other devices, where Triton is missing, write the same in matrix products of larger batches. A
row of the batch holds every key its queries attend, so its log-sum-exp is final and the backward
pass needs no second look: it runs the same batches through the kernel's own backward and adds the
gathered key and value gradients up in float32, some heads at a time. Beyond inputs and outputs
there is one batch, and in the backward pass the float32 sums of these heads. The flash kernels take
the numbers of a token for neighbors and do not look: what has them apart is copied first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sla_kernels.runtime.grid import strided
from sla_kernels.runtime.parts import at_once
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.blocks import num_blocks
from sla_kernels.select.lists import BlockLists

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

BATCH_BYTES = 1 << 20  # keys, values, queries and output of one batch, so that it fits the cache
HEADS_BYTES = 1 << 19  # keys of the heads handled together, in float32
SCORE_BYTES = 8  # what a score takes where they are written out: itself and its weight, in float32


@dataclass(frozen=True, kw_only=True)
class _Heads:
    """Some heads of one batch entry, as rows of blocks."""

    batch: int
    keys: slice  # heads of k and v
    queries: slice  # heads of q


def _heads(q: Tensor, k: Tensor, whole: bool) -> Iterator[_Heads]:
    """Heads that are handled together; those attended `whole` have all their scores at once."""
    group = q.shape[1] // k.shape[1]
    scores = 0 if fused(q) or not whole else SCORE_BYTES * group * q.shape[2] * k.shape[2]
    step = at_once(4 * k.shape[2] * k.shape[3] + scores, k, HEADS_BYTES)
    for batch in range(k.shape[0]):
        for start in range(0, k.shape[1], step):
            end = min(start + step, k.shape[1])
            yield _Heads(
                batch=batch, keys=slice(start, end), queries=slice(start * group, end * group)
            )


def blocked(x: Tensor, size: int) -> Tensor:
    """Cut `x` (heads, tokens, width) into (heads * blocks, size, width), the last zero-padded.

    Of one head whose tokens fill the blocks it is a view.
    """
    if x.shape[1] % size:
        x = F.pad(x, (0, 0, 0, -x.shape[1] % size))
    return x.reshape(-1, size, x.shape[2])


def put(made: Tensor, rows: Tensor) -> None:
    """Undo `blocked` into `made`, unless the rows are a view of it and so are there already."""
    if rows.data_ptr() != made.data_ptr():
        made.copy_(rows.reshape(made.shape[0], -1, made.shape[2])[:, : made.shape[1]])


class _Keys:
    """Key or value blocks of some heads, gathered for batches of query blocks."""

    def __init__(self, x: Tensor, block: int, pinned: int) -> None:
        self.free, self.pinned, self.block = x.shape[1] - pinned, pinned, block
        self.blocks = blocked(x[:, : self.free], block)
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
    """Sums of gathered key or value gradients, in at least float32."""

    def __init__(self, keys: _Keys) -> None:
        dtype = at_least_float32(keys.blocks)
        self.keys = keys
        self.blocks = torch.zeros_like(keys.blocks, dtype=dtype).flatten(1)
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

    def put(self, made: Tensor) -> None:
        """Write the sums where the gradient of the keys belongs."""
        rows = self.blocks.view(-1, self.keys.block, self.fixed.shape[2])
        put(made[:, : self.keys.free], rows)
        made[:, self.keys.free :] = self.fixed


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Query blocks that attend equally many keys."""

    rows: Tensor  # which query blocks
    heads: Tensor  # the key head of each
    blocks: Tensor  # the key blocks of each, counted through all heads
    length: int  # attended keys, pinned ones included


def _batches(lists: BlockLists, heads: _Heads, free_keys: int, width: int) -> Iterator[_Batch]:
    """Group the rows of some heads by length and cut the groups, on a CPU to its cache.

    `width` is what a token takes, in bytes.
    """
    key_blocks = num_blocks(free_keys, lists.block_k)
    indices = lists.indices[heads.batch, heads.queries]
    per_head = indices.shape[1] * (indices.shape[0] // (heads.keys.stop - heads.keys.start))
    indices, counts = (
        indices.flatten(0, 1).long(),
        lists.counts[heads.batch, heads.queries].flatten(),
    )
    head = torch.arange(indices.shape[0], device=indices.device) // per_head
    last = indices.gather(1, counts.long()[:, None] - 1)[:, 0]
    missing = torch.where(last == key_blocks - 1, key_blocks * lists.block_k - free_keys, 0)
    lengths = lists.pinned + counts * lists.block_k - missing
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        each = 2 * width * (length + lists.block_q)
        if not fused(rows):
            each += SCORE_BYTES * length * lists.block_q
        for part in rows.split(at_once(each, rows, BATCH_BYTES)):
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


def _whole(heads: _Heads, keys: Sequence[Tensor], queries: Sequence[Tensor]) -> list[Tensor]:
    """Some heads of key-like and query-like tensors, each key head repeated for its queries."""
    group = queries[0].shape[1] // keys[0].shape[1]
    made = [x[heads.batch, heads.keys] for x in keys]
    if group > 1:
        made = [x.repeat_interleave(group, 0) for x in made]
    return [x[None] for x in (*made, *(x[heads.batch, heads.queries] for x in queries))]


def sparse_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, lists: BlockLists, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the output and the log-sum-exp of every query, in units of the natural logarithm."""
    q, k, v = (strided(x) for x in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty((*q.shape[:3], 1), dtype=at_least_float32(q), device=q.device)
    whole = _keeps_all(lists, k)
    for heads in _heads(q, k, whole):
        here = (heads.batch, heads.queries)
        if whole:
            k_h, v_h, q_h = _whole(heads, (k, v), (q,))
            out[here], lse[here][..., 0] = _attend(q_h, k_h, v_h, scale)
            continue
        keys, values = _keys(heads, k, v, lists)
        rows, *made = (blocked(x[here], lists.block_q) for x in (q, out, lse))
        for batch in _batches(lists, heads, keys.free, q.shape[3] * q.element_size()):
            found = _attend(rows[batch.rows, None], keys.gather(batch), values.gather(batch), scale)
            made[0][batch.rows] = found[0][:, 0]
            made[1][batch.rows] = found[1][:, 0, :, None]
        for x, written in zip((out, lse), made, strict=True):
            put(x[here], written)
    return out, lse[..., 0]


def sparse_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    lse: Tensor,
    lists: BlockLists,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v; an output that was not kept is made anew by batches."""
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    grad, q, k, v = (strided(x) for x in (grad, q, k, v))
    queries = [grad, q, lse[..., None], *([] if out is None else [strided(out)])]
    whole, group = _keeps_all(lists, k), q.shape[1] // k.shape[1]
    for heads in _heads(q, k, whole):
        here, there = (heads.batch, heads.queries), (heads.batch, heads.keys)
        if whole:
            found = _pull_back(scale, *_whole(heads, (k, v), queries))
            dq[here] = found[0][0]
            dk[there], dv[there] = (x[0].unflatten(0, (-1, group)).sum(1) for x in found[1:])
            continue
        keys, values = _keys(heads, k, v, lists)
        sums = [_KeyGradients(x) for x in (keys, values)]
        made, *rows = (blocked(x[here], lists.block_q) for x in (dq, *queries))
        for batch in _batches(lists, heads, keys.free, q.shape[3] * q.element_size()):
            gathered = (x[batch.rows, None] for x in rows)
            found = _pull_back(scale, keys.gather(batch), values.gather(batch), *gathered)
            made[batch.rows] = found[0][:, 0]
            sums[0].add(found[1], batch)
            sums[1].add(found[2], batch)
        put(dq[here], made)
        sums[0].put(dk[there])
        sums[1].put(dv[there])
    return dq, dk, dv


def _keys(heads: _Heads, k: Tensor, v: Tensor, lists: BlockLists) -> tuple[_Keys, _Keys]:
    """The key and value blocks of some heads."""
    made = [_Keys(x[heads.batch, heads.keys], lists.block_k, lists.pinned) for x in (k, v)]
    return made[0], made[1]


def _pull_back(
    scale: float,
    k: Tensor,
    v: Tensor,
    grad: Tensor,
    q: Tensor,
    lse: Tensor,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v of one batch; `lse` has a last axis of 1."""
    if out is None:
        out = _attend(q, k, v, scale)[0]
    if not fused(q):
        return products_backward(grad, q, k, v, out, lse, scale)
    found: tuple[Tensor, Tensor, Tensor] = _flash_backward(
        grad, q, k, v, out, lse[..., 0], 0.0, False, scale=scale
    )
    return found


def fused(q: Tensor) -> bool:
    """Whether PyTorch has the flash kernel that takes and returns log-sum-exps here."""
    return q.device.type == "cpu"


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The output (b, h, n, d) of one batch and its log-sum-exp (b, h, n)."""
    if not fused(q):
        return products(q, k, v, scale)
    found: tuple[Tensor, Tensor] = _flash(q, k, v, scale=scale)
    return found


def products(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The same in matrix products, sums in at least float32."""
    q_, k_, v_ = (x.to(at_least_float32(x)) for x in (q, k, v))
    scores = scale * q_ @ k_.mT
    return (scores.softmax(-1) @ v_).to(q.dtype), scores.logsumexp(-1)


def products_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v in matrix products; `lse` has a last axis of 1."""
    wide = (x.to(at_least_float32(x)) for x in (grad, q, k, v, out))
    grad_, q_, k_, v_, out_ = wide
    weights = (scale * q_ @ k_.mT - lse).exp()
    d_scores = weights * (grad_ @ v_.mT - (grad_ * out_).sum(-1, keepdim=True)) * scale
    made = (d_scores @ k_, d_scores.mT @ q_, weights.mT @ grad_)
    return made[0].to(q.dtype), made[1].to(k.dtype), made[2].to(v.dtype)
