"""The pre-norm transformer block of the DINOv2 family, with its two kinds of feed-forward."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .attention import Attention
from .rope import RotaryTable


class Mlp(nn.Module):
    """Two linear layers round an exact GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width if out is None else out)

    def forward(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch e"]:
        """Transform each token by itself."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class SwiGlu(nn.Module):
    """The gated feed-forward of the giant models (arXiv 2002.05202); the gate comes first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        inner = 8 * math.ceil(int(hidden * 2 / 3) / 8)
        self.w12 = nn.Linear(width, 2 * inner)
        self.w3 = nn.Linear(inner, width)

    def forward(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch c"]:
        """Transform each token by itself."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        y: Tensor = self.w3(F.silu(gate) * value)
        return y


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch c"]:
        """Scale the channels."""
        return x * self.gamma


class Block(nn.Module):
    """x + scale(attention(norm(x))), then x + scale(feed-forward(norm(x)))."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        feed_forward: nn.Module,
        norm_eps: float,
        qk_norm: bool = False,
        layer_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, num_heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = feed_forward
        self.ls2 = LayerScale(width, layer_scale)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        *,
        rope: RotaryTable | None = None,
        pinned: Int64[Tensor, " p"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Run the block over sequences of tokens."""
        x = x + self.ls1(self.attn(self.norm1(x), rope=rope, pinned=pinned))
        y: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return y


def init_transformer(module: nn.Module) -> None:
    """Draw weights for training from scratch: truncated normal 0.02, zero biases (ViT)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
