"""Sums over cells, level by level: each size is summed from the one below."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from sla_kernels.runtime.parts import by_cells
from sla_kernels.runtime.products import at_least_float32
from sla_kernels.select.blocks import block_sizes
from sla_kernels.summary.layout import Layout


def summed(x: Float[Tensor, "b h n c"], layout: Layout) -> list[Float[Tensor, "b h _ c"]]:
    """Sum over the cells of every size; x holds ordered tokens, padded with zeros."""
    return raised(cell_sums(x, layout.sizes[0]), layout)


def cell_sums(
    x: Float[Tensor, "b h n c"], size: int, weights: Float[Tensor, "b h n"] | None = None
) -> Float[Tensor, "b h cells c"]:
    """Sum over runs of `size` tokens, which must divide them, in at least float32; weighted."""
    made = []
    for cells in by_cells(x, size):
        run = slice(cells.start * size, cells.stop * size)
        part = x[:, :, run].to(at_least_float32(x))
        made.append(_sums(part if weights is None else part * weights[:, :, run, None], size))
    return made[0] if len(made) == 1 else torch.cat(made, 2)


def _sums(x: Float[Tensor, "b h n c"], size: int) -> Float[Tensor, "b h cells c"]:
    """Sums over runs, token by token: faster than a reduction over a short axis."""
    total = x[:, :, ::size].clone()
    for i in range(1, size):
        total += x[:, :, i::size]
    return total


def raised(x: Float[Tensor, "b h cells c"], layout: Layout) -> list[Float[Tensor, "b h _ c"]]:
    """From sums over the smallest cells, those over the cells of every size."""
    found = [x]
    for level in range(1, len(layout.sizes)):
        x, fanout = found[-1], layout.fanout(level)
        missing = layout.cells(level) * fanout - x.shape[2]
        x = F.pad(x, (0, 0, 0, missing)) if missing else x
        found.append(cell_sums(x, fanout))
    return found


def counts(layout: Layout, level: int, like: Tensor) -> Float[Tensor, " cells"]:
    """The tokens in each cell."""
    return block_sizes(layout.tokens, layout.sizes[level], like.device).to(like.dtype)


def means_and_spreads(
    x: Float[Tensor, "b h n d"], layout: Layout
) -> tuple[list[Float[Tensor, "b h _ d"]], list[Float[Tensor, "b h _"]]]:
    """The mean of each cell, and the root mean square distance of its tokens from it.

    What is not finite counts as zero, so that one broken token misleads no other cell's choice.
    """
    sums, squares = (
        raised(first.nan_to_num(0, 0, 0), layout) for first in _sums_and_squares(x, layout.sizes[0])
    )
    means, spreads = [], []
    for level, (total, square) in enumerate(zip(sums, squares, strict=True)):
        count = counts(layout, level, total)[:, None]
        mean = total / count
        norm = torch.linalg.vector_norm(mean, dim=-1)
        means.append(mean)
        spreads.append(((square / count)[..., 0] - norm.square()).clamp_min(0).sqrt())
    return means, spreads


def _sums_and_squares(
    x: Float[Tensor, "b h n d"], size: int
) -> tuple[Float[Tensor, "b h cells d"], Float[Tensor, "b h cells 1"]]:
    """Sums of the tokens of each run, and of their squared lengths."""
    sums, squares = [], []
    for cells in by_cells(x, size):
        part = x[:, :, cells.start * size : cells.stop * size].to(at_least_float32(x))
        rows = rearrange(part, "b h (cell i) d -> b h cell (i d)", i=size)
        sums.append(_sums(part, size))
        squares.append(torch.linalg.vector_norm(rows, dim=-1, keepdim=True).square())
    return torch.cat(sums, 2), torch.cat(squares, 2)


def mean_queries(
    q: Float[Tensor, "b h n d"], parts: int, size: int
) -> Float[Tensor, "b h parts d"]:
    """Means of `parts` runs of `size` ordered queries; runs beyond the last query are zero."""
    real = (q.shape[2] - torch.arange(parts, device=q.device) * size).clamp(1, size)
    missing = parts * size - q.shape[2]
    q = F.pad(q, (0, 0, 0, missing)) if missing else q
    return (cell_sums(q, size) / rearrange(real, "part -> part 1")).nan_to_num(0, 0, 0)
