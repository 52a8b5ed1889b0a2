"""How much a block of queries is expected to attend a block of keys."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor

from sla_kernels.select.blocks import block_sizes

CPU_ELEMENTS = 1 << 20  # averaged at a time
SUBBLOCKS = 4  # per side of a block, for the "subblock_lse" estimator


def block_means(x: Float[Tensor, "b h n d"], size: int) -> Float32[Tensor, "b h blocks d"]:
    """Average every run of `size` tokens in float32; the last run over its true length."""
    heads = x.shape[1]
    if x.device.type == "cpu":  # where a float32 copy precedes the sum: keep it small
        heads = max(1, CPU_ELEMENTS // (x.shape[0] * x.shape[2] * x.shape[3]))
    return torch.cat([_means(part, size) for part in x.split(heads, 1)], 1)


def _means(x: Tensor, size: int) -> Tensor:
    whole = x.shape[2] // size * size
    runs = rearrange(x[:, :, :whole], "b h (blocks size) d -> b h blocks size d", size=size)
    means = runs.mean(3, dtype=torch.float32)
    if whole == x.shape[2]:
        return means
    return torch.cat([means, x[:, :, whole:].mean(2, keepdim=True, dtype=torch.float32)], 2)


def mean_scores(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b g m d"], block: tuple[int, int], scale: float
) -> Float32[Tensor, "b h query_blocks key_blocks"]:
    """Scaled dot products of block means (SLA, arXiv 2509.24006, section 4.1)."""
    query_means, key_means = block_means(q, block[0]), block_means(k, block[1])
    group = q.shape[1] // k.shape[1]
    grouped = rearrange(query_means, "b (g r) i d -> b g (r i) d", r=group)
    scores = (grouped * scale) @ key_means.mT
    return rearrange(scores, "b g (r i) j -> b (g r) i j", r=group)


def subblock_lse_scores(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b g m d"], block: tuple[int, int], scale: float
) -> Float32[Tensor, "b h query_blocks key_blocks"]:
    """Log-sum-exp of the mean scores of 4 by 4 sub-blocks, each key sub-block by its length.

    A few keys that matter raise the score of their block more than in its plain mean.
    """
    small = (block[0] // SUBBLOCKS, block[1] // SUBBLOCKS)
    scores = mean_scores(q, k, small, scale)
    scores = scores + block_sizes(k.shape[2], small[1], k.device).to(scores.dtype).log()
    missing = [-size % SUBBLOCKS for size in scores.shape[2:]]
    padded = F.pad(scores, (0, missing[1], 0, missing[0]), value=float("-inf"))
    split = rearrange(padded, "b h (r i) (c j) -> b h r i c j", i=SUBBLOCKS, j=SUBBLOCKS)
    return split.logsumexp((3, 5))


ESTIMATORS = {"mean": mean_scores, "subblock_lse": subblock_lse_scores}
