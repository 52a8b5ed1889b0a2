"""What an operator takes of a selection: the lists it walks and the order of the tokens."""

from typing import NamedTuple

import torch
from torch import Tensor

from sla_kernels.select.blocks import num_blocks


class BlockLists(NamedTuple):
    """Key blocks for each query block, over tokens in `order`, whose last `pinned` stand apart.

    The fields are, in this order, arguments of every operator; see `runtime.library`.
    """

    indices: Tensor  # int32 [b h query_blocks kept], ascending, padded with -1
    counts: Tensor  # int32 [b h query_blocks]
    negligible: Tensor | None  # int32 [b h query_blocks skipped], out of scope "marginal"
    order: Tensor | None  # int64 [n]; None where the tokens lie in order
    pinned: int
    block_q: int
    block_k: int

    @property
    def block(self) -> tuple[int, int]:
        """Tokens in a query block and in a key block."""
        return self.block_q, self.block_k

    def side_by_side(self) -> "BlockLists":
        """The same, every number of a list beside the one before, as kernels read them."""
        return self._replace(indices=self.indices.contiguous(), counts=self.counts.contiguous())


def every_block(like: BlockLists, queries: int, free_keys: int) -> BlockLists:
    """Lists that keep every block, for `queries` rows that attend all keys."""
    key_blocks = num_blocks(free_keys, like.block_k)
    rows = (*like.counts.shape[:2], num_blocks(queries, like.block_q))
    numbers = torch.arange(key_blocks, dtype=torch.int32, device=like.counts.device)
    return like._replace(
        indices=numbers.expand(*rows, key_blocks).contiguous(),
        counts=like.counts.new_full(rows, key_blocks),
        negligible=None,
    )
