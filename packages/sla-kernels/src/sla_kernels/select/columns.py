"""The lists turned round: for each key block, the query blocks that attend it."""

from dataclasses import dataclass

import torch
from einops import reduce
from jaxtyping import Int32
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Compressed columns of exactly as many entries as the lists hold.

    - `rows`: query block numbers, ascending within a column, columns one after another.
    - `offsets`: where each column starts in `rows`; one more entry than there are columns.
    - `order`: for each key head, its columns by falling length, so that long ones start first.
    """

    rows: Int32[Tensor, "b h entries"]
    offsets: Int32[Tensor, "b h columns_and_one"]
    order: Int32[Tensor, "b g columns"]


def columns_of(
    indices: Int32[Tensor, "b h query_blocks kept"], key_blocks: int, key_heads: int
) -> Columns:
    """Turn row lists into columns by a stable sort; nothing is read back to the host."""
    batch, heads, _, kept = indices.shape
    numbers = torch.where(indices < 0, key_blocks, indices).flatten(2)
    columns, positions = numbers.sort(dim=-1, stable=True)
    edges = torch.arange(key_blocks + 1, dtype=torch.int32, device=indices.device)
    offsets = torch.searchsorted(
        columns, edges.expand(batch, heads, -1).contiguous(), out_int32=True
    )
    lengths = reduce(offsets.diff(dim=-1), "b (g r) blocks -> b g blocks", "sum", g=key_heads)
    return Columns(
        rows=(positions // kept).int(),
        offsets=offsets,
        order=lengths.argsort(dim=-1, descending=True, stable=True).int(),
    )
