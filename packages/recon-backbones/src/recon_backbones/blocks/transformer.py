"""The pre-norm transformer block of the DINOv2 family, with its two kinds of feed-forward."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon_backbones.blocks.attention import Attention
from recon_backbones.blocks.onednn import by_onednn
from recon_backbones.blocks.rope import RotaryTable


class Mlp(nn.Module):
    """Two linear layers round an exact GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width if out is None else out)

    def forward(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch e"]:
        """Transform each token by itself."""
        return by_onednn(self.fc2, self.act(by_onednn(self.fc1, x)))


class SwiGlu(nn.Module):
    """The gated feed-forward of the giant models (arXiv 2002.05202); the gate comes first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        inner = 8 * math.ceil(int(hidden * 2 / 3) / 8)
        self.w12 = nn.Linear(width, 2 * inner)
        self.w3 = nn.Linear(inner, width)

    def forward(self, x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch c"]:
        """Transform each token by itself."""
        gate, value = by_onednn(self.w12, x).chunk(2, dim=-1)
        return by_onednn(self.w3, F.silu(gate) * value)


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
        self.slice_tokens: int | None = None
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
        """Run the block over sequences of tokens.

        With `slice_tokens` set, at most that many tokens are in the feed-forward and in the
        projections of attention at once, and no more sequences attend at once than hold as many
        (one at least).
        """
        if self.slice_tokens is None:
            return self._feed(x + self.ls1(self.attn(self.norm1(x), rope=rope, pinned=pinned)))
        n, together = x.shape[1], max(1, self.slice_tokens // x.shape[1])
        rows = x.new_empty(0, x.shape[2])
        for first in range(0, len(x), together):
            attended = self._attend(x[first : first + together], rope, pinned).flatten(0, 1)
            if not first:  # attention's own peak is behind it
                rows = x.new_empty(len(x) * n, x.shape[2])
            for i in range(0, len(attended), self.slice_tokens):
                fed = self._feed(attended[i : i + self.slice_tokens])
                rows[first * n + i : first * n + i + len(fed)] = fed
        return rows.view(x.shape)

    def _attend(self, x: Tensor, rope: RotaryTable | None, pinned: Tensor | None) -> Tensor:
        """Attention of some sequences, by slices, added to x."""
        mixed = self.attn(self.norm1(x), rope=rope, pinned=pinned, slice_tokens=self.slice_tokens)
        return x + self.ls1(mixed)

    def _feed(self, x: Tensor) -> Tensor:
        return x + self.ls2(self.mlp(self.norm2(x)))


def slice_blocks(module: nn.Module, tokens: int | None) -> None:
    """Bound the activations of every block below a module; None removes the bound.

    Frame-local stages then stream over views, feed-forwards and the projections of attention over
    tokens. Outputs stay the same up to rounding; quantization that scales a whole tensor would see
    slices instead.

    Raises ValueError for a bound below one token, or if there is no block.
    """
    if tokens is not None and tokens < 1:
        raise ValueError(f"tokens={tokens}; it must be at least 1: pass None for no bound")
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    if not blocks:
        raise ValueError(
            f"module={type(module).__name__}; it holds no transformer block to slice: pass a "
            "backbone"
        )
    for block in blocks:
        block.slice_tokens = tokens


def steps_before_layers(module: nn.Module) -> list[tuple[str, str]]:
    """Every norm or activation that one linear layer alone reads, and that layer, by their names.

    Both can become one kernel, together with a quantization between them.
    """
    found = []
    for name, part in module.named_modules():
        at = f"{name}." if name else ""
        if isinstance(part, Block):
            first = "fc1" if isinstance(part.mlp, Mlp) else "w12"
            found += [(f"{at}norm1", f"{at}attn.qkv"), (f"{at}norm2", f"{at}mlp.{first}")]
        if isinstance(part, Mlp):
            found.append((f"{at}act", f"{at}fc2"))
    return found


def init_transformer(module: nn.Module) -> None:
    """Draw weights for training from scratch: truncated normal 0.02, zero biases (ViT)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
