"""What was chosen: an order of the tokens, and the rows that each block of queries attends."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from sla_kernels.select.blocks import block_sizes, free_positions, num_blocks
from sla_kernels.summary.layout import Layout, RowLists


@dataclass(frozen=True, kw_only=True)
class SummarySelection:
    """Few exact blocks for each block of queries, and summaries for the rest.

    - `order`: the caller's positions of the tokens that are not pinned, in the order in which
      query blocks, key blocks and cells are runs.
    - `rows`: what each query block attends: tokens, cells and pinned tokens, numbered as `Layout`
      says. All lists are equally long; they are filled up with a row that is nothing.
    - `tilt`: logits of the weights with which cells average their tokens (0: plain means), none
      far below the largest of its coarse cell: see `weights.lifted`.
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
    def batch_heads(self) -> tuple[int, int]:
        """The batch entries and the heads of queries."""
        return self.rows.shape[0], self.rows.shape[1]

    @property
    def key_heads(self) -> int:
        """The heads of keys."""
        return int(self.tilt.shape[1])

    @property
    def query_blocks(self) -> int:
        """The number of query blocks."""
        return num_blocks(self.layout.tokens if self._own else self.num_queries, self.block_q)

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
        return self.keys_of(torch.arange(self.num_queries, device=self.outside.device))

    def keys_of(self, queries: Int64[Tensor, " some"]) -> Bool[Tensor, "b h some m"]:
        """The keys that some queries attend exactly: their rows of `token_mask`."""
        rows, layout, made = self.rows, self.layout, []
        last = layout.first(len(layout.sizes))
        for scene, order in enumerate(self.order):
            places = torch.cat([order, self.outside]).argsort()
            at = places[queries] if self._own else queries
            blocks = (at // self.block_q).clamp(max=rows.shape[2] - 1)
            asked, back = blocks.unique(return_inverse=True)  # a list serves many queries
            lists = rows[scene][:, asked].long()
            listed = torch.zeros(
                (*lists.shape[:2], layout.rows), dtype=torch.bool, device=rows.device
            ).scatter(2, lists, True)
            kept = torch.cat([listed[..., : layout.tokens], listed[..., last : layout.nothing]], 2)
            kept = kept[:, back]
            if self._own:  # a pinned query attends every key
                kept = kept | (at >= layout.tokens)[:, None]
            made.append(kept[..., places])
        return torch.stack(made)

    @property
    def _own(self) -> bool:
        """Queries are the ordered tokens themselves."""
        return self.num_queries == self.num_keys


class EveryKey(SummarySelection):
    """Every key read exactly, tokens in sequence: nothing is made before it is asked for.

    Dense attention asks for neither the order nor the lists nor the tilt.
    """

    _heads: tuple[int, int, int]  # batch entries, heads of queries, of keys
    _listed: int
    _dtype: torch.dtype  # of keys

    def __new__(cls, *_: Any, **__: Any) -> "EveryKey":
        """Without this PyTorch 2.11 compiles a frozen dataclass by its fields, not `__init__`."""
        return object.__new__(cls)

    def __init__(
        self, q: Tensor, k: Tensor, outside: Tensor, *, listed: int, **fields: Any
    ) -> None:
        """Remember sizes; `listed` is the length of lists, `fields` those that need no tensors."""
        shapes = {"num_queries": q.shape[2], "num_keys": k.shape[2], "outside": outside}
        known = {"_heads": (*q.shape[:2], k.shape[1]), "_dtype": k.dtype}
        for name, value in {**fields, **shapes, **known, "_listed": listed}.items():
            object.__setattr__(self, name, value)

    @property
    def batch_heads(self) -> tuple[int, int]:
        """The batch entries and the heads of queries."""
        return self._heads[:2]

    @property
    def key_heads(self) -> int:
        """The heads of keys."""
        return self._heads[2]

    @property
    def keys_seen(self) -> int:
        """The length of a list."""
        return self._listed

    @property
    def density(self) -> float:
        """Every pair is attended exactly: told without a list for each block."""
        return 1.0

    @property
    def order(self) -> Int64[Tensor, "b free"]:
        """The tokens that are not pinned, in sequence."""
        return free_positions(self.num_keys, self.outside).expand(self._heads[0], -1).contiguous()

    @property
    def rows(self) -> Int32[Tensor, "b h query_blocks listed"]:
        """One list for all query blocks: pinned tokens, the others, and nothing to fill it up."""
        layout, device = self.layout, self.outside.device
        pinned = layout.first(len(layout.sizes)) + torch.arange(layout.pinned, device=device)
        tokens = torch.arange(self._listed - layout.pinned, device=device)
        tokens = torch.where(tokens < layout.tokens, tokens, layout.nothing)
        shape = (*self.batch_heads, self.query_blocks, self._listed)
        return torch.cat([pinned, tokens]).int().expand(shape)

    @property
    def tilt(self) -> Float[Tensor, "b g padded"]:
        """Of plain means."""
        b, _, g = self._heads
        size = (b, g, self.layout.padded)
        dtype = torch.promote_types(self._dtype, torch.float32)
        tilt = torch.zeros(size, dtype=dtype, device=self.outside.device)
        tilt[:, :, self.layout.tokens :] = -torch.inf
        return tilt
