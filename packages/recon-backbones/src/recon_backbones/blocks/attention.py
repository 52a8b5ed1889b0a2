"""Attention whose core can be replaced: projections, norms and rotation stay with the network."""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon_backbones.blocks.rope import RotaryTable, rotate


class DenseAttention(nn.Module):
    """Softmax attention over all keys, by PyTorch's fused kernel."""

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m d"],
        *,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b h n d"]:
        """Attend; `pinned`, the positions of the special tokens, needs no care here."""
        return F.scaled_dot_product_attention(q, k, v)


class MatmulAttention(nn.Module):
    """Softmax attention over all keys, written as two matrix products.

    Equal to `DenseAttention` up to rounding. It stores the n x m weights, and trains faster than
    the fused kernel where sequences are short and the device is a CPU.
    """

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m d"],
        *,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b h n d"]:
        """Attend; `pinned`, the positions of the special tokens, needs no care here."""
        weights = (q * q.shape[-1] ** -0.5) @ k.mT
        return weights.softmax(dim=-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention: projections, optional norms and rotation around a core.

    The core is called as `core(q, k, v, pinned=pinned)` with `b h n d` tensors of one dtype, after
    the norms and the rotation; `pinned` holds the positions of the special tokens in the sequence.
    """

    def __init__(self, width: int, num_heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"width={width}; it must be a multiple of num_heads={num_heads}: change one of them"
            )
        self.num_heads = num_heads
        self.head_dim = width // num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm: nn.Module = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.core: nn.Module = DenseAttention()
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        *,
        rope: RotaryTable | None = None,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Mix the tokens of each sequence."""
        q, k, v = rearrange(
            self.qkv(x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.num_heads
        ).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        # Autocast leaves normalized q and k in fp32; a core sees one dtype.
        mixed = self.core(q.to(v.dtype), k.to(v.dtype), v, pinned=pinned)
        return self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
