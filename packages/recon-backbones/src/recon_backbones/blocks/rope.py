"""Two-dimensional rotary position embedding: tables made once a forward pass, shared by blocks."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor


class RotaryTable(NamedTuple):
    """Cosine and signed sine of every token's angles, `n d` each, in the layout of a head."""

    cos: Tensor
    signed_sin: Tensor


def rotary_table(
    positions: Int64[Tensor, "n 2"], head_dim: int, *, base: float, dtype: torch.dtype
) -> RotaryTable:
    """Make the table for integer positions (row, column).

    The first half of a head turns with the row, the second with the column; within a half of width
    w, channel j pairs with channel j + w/2 at frequency base^(-2j/w). Position 0 turns nothing.

    Raises ValueError if `head_dim` is no multiple of 4.
    Source: RoPE, arXiv 2104.09864; the two-axis form of CroCo v2, arXiv 2211.10408.
    """
    if head_dim % 4:
        raise ValueError(
            f"head_dim={head_dim}; it must be a multiple of 4 for rotation in two axes: "
            "choose other heads or width"
        )
    half = head_dim // 2
    exponent = torch.arange(0, half, 2, dtype=torch.float32, device=positions.device) / half
    angle = positions.to(torch.float32).unsqueeze(-1) / base**exponent  # [n axis j]
    cos, sin = angle.cos(), angle.sin()
    return RotaryTable(
        _head(cos, cos).to(dtype),
        _head(-sin, sin).to(dtype),
    )


def _head(first: Float[Tensor, "n yx j"], second: Float[Tensor, "n yx j"]) -> Tensor:
    """The layout of a head: for each axis the first of all pairs, then the second."""
    return rearrange([first, second], "pair n yx j -> n (yx pair j)")


def rotate(x: Float[Tensor, "b h n d"], table: RotaryTable) -> Float[Tensor, "b h n d"]:
    """Turn queries or keys by their tokens' angles."""
    swapped = x.reshape(*x.shape[:-1], 2, 2, -1).flip(-2).reshape(x.shape)
    return x * table.cos + swapped * table.signed_sin


def grid_positions(
    height: int, width: int, *, special_tokens: int, device: torch.device
) -> Int64[Tensor, "n 2"]:
    """Positions of one view: special tokens at (0, 0), then patches at (row + 1, column + 1)."""
    rows = torch.arange(1, height + 1, device=device)
    columns = torch.arange(1, width + 1, device=device)
    patches = torch.cartesian_prod(rows, columns)
    return torch.cat((patches.new_zeros(special_tokens, 2), patches))
