"""The order of patch tokens inside a backbone: raster, or compact 8x8 tiles."""

from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

TokenOrder = Literal["raster", "tile8"]
TILE, HALF = 8, 4


def check_order(order: object) -> None:
    """Refuse what is no order of tokens; raises ValueError naming the known ones."""
    known = get_args(TokenOrder)
    if order not in known:
        raise ValueError(
            f"token_order={order!r}; it must be known: pass one of {', '.join(known)}, or a "
            "callable"
        )


def order_index(
    order: TokenOrder, grid: tuple[int, int], device: torch.device
) -> tuple[Int64[Tensor, " n"] | None, Int64[Tensor, " n"] | None]:
    """Return (index that puts raster tokens in order, index that puts them back).

    "tile8" lists 8x8 tiles row after row, each as four 4x4 quarters in raster order, so that blocks
    of 64 and of 16 tokens both are squares; tiles on the lower and right border are as large as
    the grid leaves them. Both are None for "raster".

    Raises ValueError for an unknown order.
    """
    check_order(order)
    if order == "raster":
        return None, None
    height, width = grid
    row = torch.arange(height, device=device)[:, None].expand(height, width)
    column = torch.arange(width, device=device).expand(height, width)
    tiles_across = -(-width // TILE)
    tile = (row // TILE) * tiles_across + column // TILE
    quarter = (row % TILE // HALF) * 2 + column % TILE // HALF
    within = quarter * HALF * HALF + (row % HALF) * HALF + column % HALF
    forward = (tile * TILE * TILE + within).flatten().argsort()
    return forward, forward.argsort()
