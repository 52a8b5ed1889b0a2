"""Block selection as one operator, so that compiled graphs do not depend on the length."""

import torch
from torch import Tensor

from sla_kernels.library import register
from sla_kernels.select.blocks import block_sizes, mask_to_lists, num_blocks
from sla_kernels.select.lists import diagonal, smaller, top_k, top_p
from sla_kernels.select.scores import ESTIMATORS

_SCHEMA = (
    "select_blocks(Tensor q, Tensor k, SymInt kept, float top_p, int block_q, int block_k, "
    "bool keep_diagonal, str estimator, SymInt negligible, float scale) -> (Tensor, Tensor, Tensor)"
)


def select(
    q: Tensor,
    k: Tensor,
    kept: int,
    share: float,
    block_q: int,
    block_k: int,
    keep_diagonal: bool,
    estimator: str,
    negligible: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return lists of kept blocks, their lengths, and lists of negligible blocks."""
    scores = ESTIMATORS[estimator](q, k, (block_q, block_k), scale)
    if share >= 1 and not keep_diagonal:
        indices = top_k(scores, kept)
        counts = indices.new_full(indices.shape[:3], kept)
    else:
        mask = torch.zeros_like(scores, dtype=torch.bool)
        mask.scatter_(-1, top_k(scores, kept).long(), True)
        if share < 1:
            sizes = block_sizes(k.shape[2], block_k, k.device)
            if estimator == "subblock_lse":  # its scores are sums over keys already
                sizes = torch.ones_like(sizes)
            mask &= top_p(scores, sizes, share)
        if keep_diagonal:
            mask |= diagonal(scores.shape[2], scores.shape[3], (block_q, block_k), q.device)
        indices = mask_to_lists(
            mask, list_width(kept, scores.shape[3], keep_diagonal, block_q, block_k)
        )
        counts = mask.sum(-1, dtype=torch.int32)
    return indices, counts, lowest(scores, indices, negligible)


def lowest(scores: Tensor, kept: Tensor, number: int) -> Tensor:
    """The `number` worst blocks of each row, less those that are kept."""
    worst = top_k(scores, number, largest=False)
    clash = (worst[..., :, None] == kept[..., None, :]).any(-1)
    spare = scores.shape[-1]
    ascending = torch.where(clash, spare, worst).sort(-1).values
    return torch.where(ascending == spare, -1, ascending).int()


def list_width(kept: int, key_blocks: int, keep_diagonal: bool, block_q: int, block_k: int) -> int:
    """Room for the kept blocks and, where asked for, those on the diagonal."""
    extra = max(1, block_q // block_k) if keep_diagonal else 0
    return smaller(key_blocks, kept + extra)


def select_fake(
    q: Tensor,
    k: Tensor,
    kept: int,
    share: float,
    block_q: int,
    block_k: int,
    keep_diagonal: bool,
    estimator: str,
    negligible: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Say what `select` returns, from shapes alone."""
    rows = (q.shape[0], q.shape[1], num_blocks(q.shape[2], block_q))
    width = list_width(kept, num_blocks(k.shape[2], block_k), keep_diagonal, block_q, block_k)
    made = [
        q.new_empty(size, dtype=torch.int32) for size in ((*rows, width), rows, (*rows, negligible))
    ]
    return made[0], made[1], made[2]


register(_SCHEMA, select, select_fake)
