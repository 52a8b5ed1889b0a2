"""The lists a backend walks, with the keys that follow the blocks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sla_kernels.select.blocks import num_blocks


@dataclass(frozen=True, kw_only=True)
class BlockLists:
    """Key blocks for each query block; the last `pinned` keys belong to every query."""

    indices: Tensor  # int32 [b h query_blocks kept], ascending, padded with -1
    counts: Tensor  # int32 [b h query_blocks]
    block_q: int
    block_k: int
    pinned: int


def every_block(like: BlockLists, queries: int, free_keys: int) -> BlockLists:
    """Lists that keep every block, for `queries` rows that attend all keys."""
    key_blocks = num_blocks(free_keys, like.block_k)
    rows = (*like.counts.shape[:2], num_blocks(queries, like.block_q))
    numbers = torch.arange(key_blocks, dtype=torch.int32, device=like.counts.device)
    return BlockLists(
        indices=numbers.expand(*rows, key_blocks).contiguous(),
        counts=like.counts.new_full(rows, key_blocks),
        block_q=like.block_q,
        block_k=like.block_k,
        pinned=like.pinned,
    )
