"""Sums over cells, level by level: each size is summed from the one below."""

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from sla_kernels.select.blocks import block_sizes
from sla_kernels.summary.layout import Layout


def summed(x: Float[Tensor, "b h n c"], layout: Layout) -> list[Float[Tensor, "b h cells c"]]:
    """Sum over the cells of every size; x holds ordered tokens, padded with zeros."""
    found = []
    for level in range(len(layout.sizes)):
        missing = layout.cells(level) * layout.fanout(level) - x.shape[2]
        x = F.pad(x, (0, 0, 0, missing)) if missing else x
        x = reduce(x, "b h (cell i) c -> b h cell c", "sum", i=layout.fanout(level))
        found.append(x)
    return found


def counts(layout: Layout, level: int, like: Tensor) -> Float[Tensor, " cells"]:
    """The tokens in each cell."""
    return block_sizes(layout.tokens, layout.sizes[level], like.device).to(like.dtype)


def means_and_spreads(
    x: Float[Tensor, "b h n d"], layout: Layout
) -> tuple[list[Float[Tensor, "b h cells d"]], list[Float[Tensor, "b h cells"]]]:
    """The mean of each cell, and the root mean square distance of its tokens from it.

    What is not finite counts as zero, so that one broken token misleads no other cell's choice.
    """
    sums = summed(x, layout)
    squares = summed(x.square().sum(-1, keepdim=True), layout)
    means, spreads = [], []
    for level, (total, square) in enumerate(zip(sums, squares, strict=True)):
        count = counts(layout, level, total)[:, None]
        mean = (total / count).nan_to_num(0, 0, 0)
        variance = (square / count)[..., 0] - mean.square().sum(-1)
        means.append(mean)
        spreads.append(variance.nan_to_num(0, 0, 0).clamp_min(0).sqrt())
    return means, spreads


def mean_queries(
    q: Float[Tensor, "b h n d"], parts: int, size: int
) -> Float[Tensor, "b h parts d"]:
    """Means of `parts` runs of `size` ordered queries; runs beyond the last query are zero."""
    real = (q.shape[2] - torch.arange(parts, device=q.device) * size).clamp(1, size)
    q = F.pad(q, (0, 0, 0, parts * size - q.shape[2]))
    sums = reduce(q, "b h (part i) d -> b h part d", "sum", i=size)
    return (sums / real[:, None]).nan_to_num(0, 0, 0)
