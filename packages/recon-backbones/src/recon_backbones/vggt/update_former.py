"""The tracker's transformer: over time within a track, over tracks by way of virtual ones."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.transformer import Mlp
from recon_backbones.vggt.config import TrackConfig


class UpdateFormer(nn.Module):
    """From track tokens to changes of position (2) and feature.

    `virual_tracks` is spelled as in the public weights.
    """

    def __init__(self, config: TrackConfig) -> None:
        super().__init__()
        d, depth, heads = config.hidden, config.depth, config.num_heads
        self.input_norm = nn.LayerNorm(config.token_width)
        self.input_transform = nn.Linear(config.token_width, d)
        self.virual_tracks = nn.Parameter(torch.zeros(1, config.virtual_tracks, 1, d))
        self.time_blocks = nn.ModuleList(SelfBlock(d, heads) for _ in range(depth))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock(d, heads) for _ in range(depth))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock(d, heads) for _ in range(depth))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock(d, heads) for _ in range(depth))
        self.output_norm = nn.LayerNorm(d)
        self.flow_head = nn.Linear(d, config.features + 2)

    def forward(self, tokens: Float[Tensor, "b p v e"]) -> Float[Tensor, "b p v d"]:
        """Run the blocks; every track sees its own views, then all tracks of each view."""
        b, points, views, _ = tokens.shape
        tracks = points + self.virual_tracks.shape[1]
        start = self.input_transform(self.input_norm(tokens))
        x = torch.cat((start, self.virual_tracks.expand(b, -1, views, -1)), dim=1)
        blocks = zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        )
        for over_time, gather, among, spread in blocks:
            x = over_time(rearrange(x, "b p v d -> (b p) v d"))
            by_view = rearrange(x, "(b p) v d -> (b v) p d", p=tracks)
            point, virtual = by_view[:, :points], by_view[:, points:]
            virtual = among(gather(virtual, point))
            point = spread(point, virtual)
            joined = torch.cat((point, virtual), dim=1)
            x = rearrange(joined, "(b v) p d -> b p v d", v=views)
        return self.flow_head(self.output_norm(x[:, :points] + start))


class SelfBlock(nn.Module):
    """Self-attention and feed-forward; the residual starts from the normalized input."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each sequence."""
        x = self.norm1(x)
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class CrossBlock(nn.Module):
    """Attention to a context and feed-forward; the residual starts from the normalized input."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width)
        self.cross_attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(
        self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b n d"]:
        """Let the tokens of x read the context."""
        x, context = self.norm1(x), self.norm_context(context)
        x = x + self.cross_attn(x, context, context, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))
