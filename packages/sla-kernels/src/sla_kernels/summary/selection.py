"""What was chosen: an order of the tokens, and the rows that each block of queries attends."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from sla_kernels.select.blocks import block_sizes
from sla_kernels.summary.layout import Layout
from sla_kernels.summary.op import RowLists


@dataclass(frozen=True, kw_only=True)
class SummarySelection:
    """Few exact blocks for each block of queries, and summaries for the rest.

    - `order`: the caller's positions of the tokens that are not pinned, in the order in which
      query blocks, key blocks and cells are runs.
    - `rows`: what each query block attends: tokens, cells and pinned tokens, numbered as `Layout`
      says. All lists are equally long; they are filled up with a row that is nothing.
    - `tilt`: logits of the weights with which cells average their tokens (0: plain means).
    - `block_q`: queries in a block. `sizes`: tokens in a key block, then in larger cells.
    - `summaries`: whether cells are listed; without them only the exact blocks are.
    - `exact`: key blocks that each query block attends exactly.
    - `offsets`: what is added to the log of the mass of cells, by key head and size.
    """

    order: Int64[Tensor, "b free"]
    rows: Int32[Tensor, "b h query_blocks listed"]
    tilt: Float[Tensor, "b g padded"]
    outside: Int64[Tensor, " pinned"]
    block_q: int
    sizes: tuple[int, ...]
    num_queries: int
    num_keys: int
    summaries: bool
    exact: int
    offsets: Float[Tensor, "g _"] | None = None

    @property
    def lists(self) -> RowLists:
        """The selection as operators take it."""
        made = (self.order, self.rows, self.tilt, self.outside, self.block_q, self.sizes)
        return RowLists(*made, self.offsets)

    @property
    def layout(self) -> Layout:
        """Which row is what."""
        return Layout(self.num_keys - self.num_pinned, self.num_pinned, self.sizes)

    @property
    def num_pinned(self) -> int:
        """The number of pinned tokens."""
        return int(self.outside.shape[0])

    @property
    def block(self) -> tuple[int, int]:
        """Queries and keys in a block."""
        return self.block_q, self.sizes[0]

    @property
    def key_blocks(self) -> int:
        """The number of key blocks."""
        return self.layout.cells(0)

    @property
    def keeps_all(self) -> bool:
        """Every block is attended, so that dense attention is what is computed."""
        return self.exact >= self.key_blocks

    @property
    def keys_seen(self) -> int:
        """The length of a list: keys, exact or summaries, that enter a query's softmax."""
        return int(self.rows.shape[3])

    @property
    def density(self) -> float:
        """The share of query-key pairs that are attended exactly, pinned tokens included.

        Reads the lists, so on an accelerator it waits for the device.
        """
        layout = self.layout
        rows = self.rows
        last = layout.first(len(layout.sizes))
        exact = (rows < layout.tokens) | ((rows >= last) & (rows < layout.nothing))
        of_blocks = exact.sum(-1).double()
        free = self.num_queries - (self.num_pinned if self._own else 0)
        sizes = block_sizes(free, self.block_q, rows.device).double()
        pairs = float((of_blocks @ sizes).mean())
        pairs += self.num_pinned * self.num_keys if self._own else 0
        return pairs / (self.num_queries * self.num_keys)

    def token_mask(self) -> Bool[Tensor, "b h n m"]:
        """The pairs that are attended exactly, in the caller's positions; quadratic in memory."""
        b, h = self.rows.shape[:2]
        layout = self.layout
        last = layout.first(len(layout.sizes))
        listed = torch.zeros(
            (*self.rows.shape[:3], layout.rows), dtype=torch.bool, device=self.rows.device
        ).scatter(3, self.rows.long(), True)
        mask = torch.zeros(
            (b, h, self.num_queries, self.num_keys), dtype=torch.bool, device=self.rows.device
        )
        free = self.order.shape[1] if self._own else self.num_queries
        of_query = listed.repeat_interleave(self.block_q, 2)[:, :, :free]
        places = self.order if self._own else torch.arange(free).expand(b, -1)
        for scene, (order, queries) in enumerate(zip(self.order, places, strict=True)):
            columns = torch.cat([order, self.outside])
            kept = torch.cat(
                [
                    of_query[scene, :, :, : layout.tokens],
                    of_query[scene, :, :, last : layout.nothing],
                ],
                2,
            )
            whole = torch.zeros_like(mask[scene, :, :free])
            whole[:, :, columns] = kept
            mask[scene][:, queries] = whole
        if self._own:
            mask[:, :, self.outside] = True
        return mask

    @property
    def _own(self) -> bool:
        """Queries are the ordered tokens themselves."""
        return self.num_queries == self.num_keys
