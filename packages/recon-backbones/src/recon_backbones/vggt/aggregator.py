"""VGGT's trunk: a DINOv2 encoder per view, then frame and global attention in turn."""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon_backbones.blocks.patches import PatchEmbed, embed_patches, resize_positions
from recon_backbones.blocks.rope import RotaryTable, grid_positions, rotary_table
from recon_backbones.blocks.streaming import Keeper
from recon_backbones.blocks.token_order import TokenOrder, order_index
from recon_backbones.blocks.transformer import Block, Mlp
from recon_backbones.vggt.config import VggtConfig


class DinoEncoder(nn.Module):
    """DINOv2 with register tokens; `mask_token` is in the public file and takes no part."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        c = config.embed_dim
        self.patch_embed = PatchEmbed(config.patch_size, c)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.pos_grid**2, c))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.dino_registers, c))
        self.mask_token = nn.Parameter(torch.zeros(1, c))
        self.blocks = nn.ModuleList(
            Block(
                c,
                config.dino_heads,
                feed_forward=Mlp(c, c * config.mlp_ratio),
                norm_eps=1e-6,
            )
            for _ in range(config.dino_depth)
        )
        self.norm = nn.LayerNorm(c, eps=1e-6)

    def forward(
        self, images: Float[Tensor, "b 3 y x"], order: Int64[Tensor, " n"] | None
    ) -> Float[Tensor, "b n c"]:
        """Return normalized patch tokens, in `order` if one is given."""
        patches = self.patch_embed(images)
        size = self.patch_embed.proj.kernel_size
        grid = (images.shape[-2] // size[0], images.shape[-1] // size[1])
        positions = resize_positions(self.pos_embed, grid, by="size")
        special = torch.cat((self.cls_token + positions[:, :1], self.register_tokens), dim=1)
        x = embed_patches(patches, positions, special, order)
        pinned = torch.arange(special.shape[1], device=x.device)
        for block in self.blocks:
            x = block(x, pinned=pinned)
        return self.norm(x[:, special.shape[1] :])


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Tokens after one frame block and the global block behind it, `b v n c` each."""

    frame: Tensor
    spread: Tensor


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What the trunk hands to the heads: the pairs of the out layers, in the order of the network.

    `raster[n]` is the place of patch n in raster order (None if already so). `camera` holds both
    halves of every view's camera token after the last pair.
    """

    pairs: tuple[Pair, ...]
    camera: Float[Tensor, "b v d"]
    grid: tuple[int, int]
    raster: Int64[Tensor, " n"] | None


class Aggregator(Keeper):
    """Camera and register tokens (of their own for the first view) before each view's patches."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        c = config.embed_dim
        self.config = config
        self.token_order: TokenOrder = "raster"
        self.patch_embed = DinoEncoder(config)
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, c))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_registers, c))
        self.frame_blocks = nn.ModuleList(_block(config) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(_block(config) for _ in range(config.depth))

    def forward(self, images: Float[Tensor, "b v 3 y x"]) -> Tokens:
        """Run on normalized images; keep only what the heads read."""
        config = self.config
        b, v = images.shape[:2]
        grid = (images.shape[-2] // config.patch_size, images.shape[-1] // config.patch_size)
        order, raster = order_index(self.token_order, grid, images.device)
        patches = self.patch_embed(rearrange(images, "b v c y x -> (b v) c y x"), order)
        patches = rearrange(patches, "(b v) n c -> b v n c", b=b, v=v)
        x = torch.cat((self._special(b, v).to(patches.dtype), patches), dim=2)
        del patches  # as long as all tokens, and read no more
        frame_rope, global_rope = self._ropes(v, grid, order, x)
        first = torch.arange(config.special_tokens, device=x.device)
        starts = torch.arange(v, device=x.device)[:, None] * x.shape[2]
        pinned = rearrange(starts + first, "v s -> (v s)")
        pairs, frame = [], x
        blocks = zip(self.frame_blocks, self.global_blocks, strict=True)
        for i, (frame_block, global_block) in enumerate(blocks):
            alone = rearrange(x, "b v n c -> (b v) n c")
            alone = frame_block(alone, rope=frame_rope, pinned=first)
            frame = rearrange(alone, "(b v) n c -> b v n c", b=b, v=v)
            together = rearrange(frame, "b v n c -> b (v n) c")
            together = global_block(together, rope=global_rope, pinned=pinned)
            x = rearrange(together, "b (v n) c -> b v n c", v=v)
            if i in config.out_layers:
                pairs.append(Pair(frame=self.keep(frame), spread=self.keep(x)))
        camera = torch.cat((frame[:, :, 0], x[:, :, 0]), dim=-1)
        return Tokens(pairs=tuple(pairs), camera=camera, grid=grid, raster=raster)

    def _special(self, b: int, v: int) -> Float[Tensor, "b v s c"]:
        """Entry 0 for the first view, entry 1 for every other."""
        both = torch.cat((self.camera_token, self.register_token), dim=2)
        others = both[:, 1:].expand(-1, v - 1, -1, -1)
        return torch.cat((both[:, :1], others), dim=1).expand(b, -1, -1, -1)

    def _ropes(
        self, views: int, grid: tuple[int, int], order: Tensor | None, x: Tensor
    ) -> tuple[RotaryTable, RotaryTable]:
        config = self.config
        special = config.special_tokens
        positions = grid_positions(*grid, special_tokens=special, device=x.device)
        if order is not None:
            positions = torch.cat((positions[:special], positions[special:][order]))
        dtype = torch.float32 if x.dtype == torch.float64 else x.dtype
        frame = rotary_table(positions, config.head_dim, base=config.rope_freq, dtype=dtype)
        return frame, RotaryTable(*(repeat(table, "n d -> (v n) d", v=views) for table in frame))


def _block(config: VggtConfig) -> Block:
    c = config.embed_dim
    return Block(
        c,
        config.num_heads,
        feed_forward=Mlp(c, c * config.mlp_ratio),
        norm_eps=1e-5,
        qk_norm=True,
        layer_scale=config.layer_scale,
    )
