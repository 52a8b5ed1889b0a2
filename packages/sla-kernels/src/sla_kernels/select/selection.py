"""What was selected: for each block of queries, the blocks of keys it attends."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Int32, Int64
from torch import Tensor

from sla_kernels.runtime.checks import check_block, check_pinned
from sla_kernels.select.blocks import (
    block_sizes,
    lists_to_mask,
    mask_to_lists,
    num_blocks,
    pinned_last,
)
from sla_kernels.select.lists import BlockLists


@dataclass(frozen=True, kw_only=True)
class BlockSelection:
    """The key blocks that each query block attends, as ascending lists.

    Blocks are runs of `block = (query, key)` consecutive tokens; the last one may be shorter.
    `pinned` tokens stand outside the blocks: blocks are formed over the remaining tokens, in
    order. Every query attends every pinned key, and a pinned query attends every key.

    - `indices`: key block numbers, ascending, padded with -1.
    - `counts`: how many of them are valid; at least 1.
    - `keeps_all`: every row is known to hold every key block, without reading the lists.
    - `negligible`: key blocks that scope "marginal" of the linear branch skips too, in the same
      form; None where no such class was asked for.
    """

    indices: Int32[Tensor, "b h query_blocks kept"]
    counts: Int32[Tensor, "b h query_blocks"]
    block: tuple[int, int]
    num_queries: int
    num_keys: int
    pinned: Int64[Tensor, " pinned"] | None = None
    negligible: Int32[Tensor, "b h query_blocks skipped"] | None = None
    keeps_all: bool = False

    def __post_init__(self) -> None:
        check_block(self.block)
        if self.pinned is not None:
            check_pinned(self.pinned, self.num_queries, self.num_keys, self.indices.device)
        if self.indices.shape[:3] != self.counts.shape:
            raise ValueError(
                f"indices has shape {tuple(self.indices.shape)} but counts "
                f"{tuple(self.counts.shape)}; they must agree on (b, h, query_blocks): "
                "make both from one mask, see from_mask"
            )
        if self.counts.shape[2] != self.query_blocks:
            raise ValueError(
                f"counts has {self.counts.shape[2]} query blocks; {self.num_queries} queries in "
                f"blocks of {self.block[0]} with {self.num_pinned} pinned must have "
                f"{self.query_blocks}: make the lists for these tokens"
            )
        if self.keeps_all and self.indices.shape[3] != self.key_blocks:
            raise ValueError(
                f"keeps_all=True with room for {self.indices.shape[3]} of {self.key_blocks} key "
                "blocks; indices must hold all: pass keeps_all=False"
            )

    @property
    def num_pinned(self) -> int:
        """The number of pinned tokens."""
        return 0 if self.pinned is None else self.pinned.shape[0]

    @property
    def query_blocks(self) -> int:
        """The number of query blocks."""
        return num_blocks(self.num_queries - self.num_pinned, self.block[0])

    @property
    def key_blocks(self) -> int:
        """The number of key blocks."""
        return num_blocks(self.num_keys - self.num_pinned, self.block[1])

    @property
    def lists(self) -> BlockLists:
        """What the operators take."""
        return BlockLists(
            self.indices,
            self.counts,
            self.negligible,
            self.token_order(),
            self.num_pinned,
            *self.block,
        )

    @property
    def density(self) -> float:
        """The share of query-key pairs that are attended, pinned tokens included.

        Reads the lists, so on an accelerator it waits for the device.
        """
        device = self.indices.device
        queries = block_sizes(self.num_queries - self.num_pinned, self.block[0], device)
        keys = block_sizes(self.num_keys - self.num_pinned, self.block[1], device)
        kept = self.block_mask().double() @ keys.double()
        rows = (kept + self.num_pinned) @ queries.double()
        pairs = float(rows.mean()) + self.num_pinned * self.num_keys
        return pairs / (self.num_queries * self.num_keys)

    def block_mask(self) -> Bool[Tensor, "b h query_blocks key_blocks"]:
        """The lists as a mask; true where a query block attends a key block."""
        return lists_to_mask(self.indices, self.key_blocks)

    def token_mask(self) -> Bool[Tensor, "b h n m"]:
        """The attended query-key pairs, pinned tokens included; quadratic in memory."""
        return self.expand(self.block_mask(), pinned_rows=True, pinned_columns=True)

    def keys_of(self, queries: Int64[Tensor, " some"]) -> Bool[Tensor, "b h some m"]:
        """The keys that some queries attend: their rows of `token_mask`, made alone."""
        order, free = self.token_order(), self.num_queries - self.num_pinned
        places = queries if order is None else order.argsort()[queries]
        blocks = (places // self.block[0]).clamp(max=self.query_blocks - 1)
        mask = lists_to_mask(self.indices[:, :, blocks], self.key_blocks)
        mask = repeat(mask, "b h q j -> b h q (j c)", c=self.block[1])
        mask = mask[..., : self.num_keys - self.num_pinned]
        if order is None:
            return mask
        mask = F.pad(mask | (places >= free)[:, None], (0, self.num_pinned), value=True)
        return mask[..., order.argsort()]

    def expand(
        self,
        blocks: Bool[Tensor, "b h query_blocks key_blocks"],
        *,
        pinned_rows: bool,
        pinned_columns: bool,
    ) -> Bool[Tensor, "b h n m"]:
        """Write a mask of blocks as one of tokens; pinned rows and columns get one value each."""
        rows, columns = self.num_queries - self.num_pinned, self.num_keys - self.num_pinned
        r, c = self.block
        mask = repeat(blocks, "b h i j -> b h (i r) (j c)", r=r, c=c)[:, :, :rows, :columns]
        order = self.token_order()
        if order is None:
            return mask
        size = (*mask.shape[:2], self.num_queries, self.num_keys)
        full = torch.full(size, pinned_columns, dtype=torch.bool, device=mask.device)
        full[:, :, rows:] = pinned_rows
        full[:, :, :rows, :columns] = mask
        back = order.argsort()
        return full[:, :, back][:, :, :, back]

    def token_order(self) -> Int64[Tensor, " n"] | None:
        """Positions with the pinned tokens last, each part in order; None without pinned tokens."""
        if self.pinned is None or not self.num_pinned:
            return None
        return pinned_last(self.num_keys, self.pinned)

    @classmethod
    def from_mask(
        cls,
        mask: Bool[Tensor, "b h query_blocks key_blocks"],
        *,
        block: tuple[int, int],
        num_queries: int,
        num_keys: int,
        pinned: Int64[Tensor, " pinned"] | None = None,
    ) -> "BlockSelection":
        """Make the lists of a mask; any mask whose every row keeps a block will do.

        Reads the mask, so on an accelerator it waits for the device.
        """
        counts = mask.sum(-1, dtype=torch.int32)
        least = int(counts.min())
        if least < 1:
            raise ValueError(
                "mask has a row without any block; each row must keep at least one: set its best"
            )
        made = cls(
            indices=mask_to_lists(mask, int(counts.max())),
            counts=counts,
            block=block,
            num_queries=num_queries,
            num_keys=num_keys,
            pinned=pinned,
            keeps_all=least
            == num_blocks(num_keys - (0 if pinned is None else len(pinned)), block[1]),
        )
        if mask.shape[3] != made.key_blocks:
            raise ValueError(
                f"mask has {mask.shape[3]} key blocks; it must have {made.key_blocks}: "
                "make it for these tokens"
            )
        return made
