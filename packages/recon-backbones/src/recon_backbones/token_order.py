"""The order of patch tokens inside a backbone: raster, or compact 8x8 tiles."""

from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

TokenOrder = Literal["raster", "tile8"]
TILE = 8


def order_index(
    order: TokenOrder, grid: tuple[int, int], device: torch.device
) -> tuple[Int64[Tensor, " n"] | None, Int64[Tensor, " n"] | None]:
    """Return (index that puts raster tokens in order, index that puts them back).

    "tile8" lists 8x8 tiles row after row, raster order inside each; tiles on the lower and right
    border are as large as the grid leaves them. Both are None for "raster".

    Raises ValueError for an unknown order.
    """
    if order == "raster":
        return None, None
    if order != "tile8":
        raise ValueError(f"token_order {order!r} is unknown; known: 'raster', 'tile8'")
    height, width = grid
    row = torch.arange(height, device=device)[:, None].expand(height, width)
    column = torch.arange(width, device=device).expand(height, width)
    tiles_across = -(-width // TILE)
    tile = (row // TILE) * tiles_across + column // TILE
    within = (row % TILE) * TILE + column % TILE
    forward = (tile * TILE * TILE + within).flatten().argsort()
    return forward, forward.argsort()
