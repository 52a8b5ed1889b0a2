"""What a network would reach without looking across views."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class OwnViewAttention(nn.Module):
    """Global attention held back: a view sees its own tokens and the special tokens of all.

    `special` is how many of them, at `pinned`, each view has.
    """

    def __init__(self, special: int = 1) -> None:
        super().__init__()
        self.special = special

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h n d"],
        v: Float[Tensor, "b h n d"],
        *,
        pinned: Int64[Tensor, " p"],
    ) -> Float[Tensor, "b h n d"]:
        """Attend within each view, and to the tokens at `pinned`, the first of every view."""
        views = len(pinned) // self.special
        own = [rearrange(t, "b h (v n) d -> b h v n d", v=views) for t in (q, k, v)]
        cameras = [repeat(t[:, :, pinned], "b h p d -> b h v p d", v=views) for t in (k, v)]
        keys, values = (torch.cat(pair, dim=3) for pair in zip(own[1:], cameras, strict=True))
        mixed = scaled_dot_product_attention(own[0], keys, values)
        return rearrange(mixed, "b h v n d -> b h (v n) d")
