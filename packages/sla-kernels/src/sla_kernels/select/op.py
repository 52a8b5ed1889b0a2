"""Block selection as one operator, so that compiled graphs do not depend on the length."""

from typing import NamedTuple

import torch
from torch import Tensor

from sla_kernels.runtime.library import is_writing_out, register
from sla_kernels.select.blocks import block_sizes, lists_to_mask, mask_to_lists, num_blocks
from sla_kernels.select.ranks import diagonal, smaller, top_k, top_p
from sla_kernels.select.scores import ESTIMATORS


class Settings(NamedTuple):
    """What a choice comes down to for tokens of known number; the operator's arguments."""

    kept: int  # key blocks
    share: float  # of the estimated softmax mass
    block_q: int
    block_k: int
    keep_diagonal: bool
    estimator: str
    negligible: int  # key blocks
    scale: float


def select_blocks(q: Tensor, k: Tensor, how: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Return lists of kept blocks, their lengths, and lists of negligible blocks."""
    block = (how.block_q, how.block_k)
    if not is_writing_out() and scores_nothing(k, how):
        return _every_block(q, k, how)
    scores = ESTIMATORS[how.estimator](q, k, block, how.scale)
    if how.share >= 1 and not how.keep_diagonal:
        indices = top_k(scores, how.kept)
        counts = indices.new_full(indices.shape[:3], how.kept)
    else:
        mask = torch.zeros_like(scores, dtype=torch.bool)
        mask.scatter_(-1, top_k(scores, how.kept).long(), True)
        if how.share < 1:
            sizes = block_sizes(k.shape[2], how.block_k, k.device)
            if how.estimator == "subblock_lse":  # its scores are sums over keys already
                sizes = torch.ones_like(sizes)
            mask &= top_p(scores, sizes, how.share)
        if how.keep_diagonal:
            mask |= diagonal(scores.shape[2], scores.shape[3], block, q.device)
        indices = mask_to_lists(mask, list_width(how, scores.shape[3]))
        counts = mask.sum(-1, dtype=torch.int32)
    if not is_writing_out() and how.negligible == 0:
        return indices, counts, counts.new_empty((*counts.shape, 0))
    return indices, counts, lowest(scores, indices, how.negligible)


def scores_nothing(k: Tensor, how: Settings) -> bool:
    """Whether every block is kept and none is negligible, whatever the scores."""
    every = how.kept == num_blocks(k.shape[2], how.block_k)
    return every and how.share >= 1 and how.negligible == 0


def _every_block(q: Tensor, k: Tensor, how: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """What the choice comes to where no block is left out: nothing is scored."""
    rows = (q.shape[0], q.shape[1], num_blocks(q.shape[2], how.block_q))
    numbers = torch.arange(how.kept, dtype=torch.int32, device=k.device)
    counts = torch.full(rows, how.kept, dtype=torch.int32, device=k.device)
    return numbers.repeat(*rows, 1), counts, counts.new_empty((*rows, 0))


def lowest(scores: Tensor, kept: Tensor, number: int) -> Tensor:
    """The `number` worst blocks of each row, less those that are kept."""
    worst, spare = top_k(scores, number, largest=False), scores.shape[-1]
    clash = lists_to_mask(kept, spare).gather(-1, worst.long())
    ascending = torch.where(clash, spare, worst).sort(-1).values
    return torch.where(ascending == spare, -1, ascending).int()


def list_width(how: Settings, key_blocks: int) -> int:
    """Room for the kept blocks and, where asked for, those on the diagonal."""
    extra = max(1, how.block_q // how.block_k) if how.keep_diagonal else 0
    return smaller(key_blocks, how.kept + extra)


def fake(q: Tensor, k: Tensor, how: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Say what `select_blocks` returns, from shapes alone."""
    rows = (q.shape[0], q.shape[1], num_blocks(q.shape[2], how.block_q))
    width = list_width(how, num_blocks(k.shape[2], how.block_k))
    made = [
        q.new_empty(size, dtype=torch.int32)
        for size in ((*rows, width), rows, (*rows, how.negligible))
    ]
    return made[0], made[1], made[2]


register(select_blocks, fake)
