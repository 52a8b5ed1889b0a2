"""One sort of codes: the k-d tree's cuts, guessed from ranks on all axes, in the bits of a number.

An axis gets its next bit while it varies most, and is then taken to vary half as much. One sort
instead of one a level; neighbors are a little less alike than by medians.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

RANK_BITS = 20


def code_order(features: Float[Tensor, "b n a"], leaf: int) -> Int64[Tensor, "b n"]:
    """Positions of the tokens in which runs of `leaf` are alike; ties keep their order.

    Nothing is read back to the host.
    """
    tokens = features.shape[1]
    ranks = features.argsort(dim=1, stable=True).argsort(dim=1)
    scaled = (ranks << RANK_BITS) // tokens
    variance = features.var(1, unbiased=False)
    depth = torch.zeros_like(variance, dtype=torch.int64)
    code = torch.zeros_like(scaled[..., 0])
    for _ in range(min(RANK_BITS, max(1, (-(-tokens // leaf) - 1).bit_length()))):
        axis = variance.argmax(-1, keepdim=True)
        shift = RANK_BITS - 1 - depth.gather(1, axis)
        chosen = scaled.gather(2, axis[:, None].expand(-1, tokens, 1))[..., 0]
        code = 2 * code + ((chosen >> shift) & 1)
        variance = variance.scatter(1, axis, variance.gather(1, axis) / 4)
        depth = depth.scatter_add(1, axis, torch.ones_like(axis))
    return code.argsort(dim=1, stable=True)
