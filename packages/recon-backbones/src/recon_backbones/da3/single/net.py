"""The single-view Depth Anything 3 network: a plain vision transformer, depth and sky."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.dpt import DptTrunk, Size
from recon_backbones.blocks.patches import PatchEmbed, embed_patches, resize_positions
from recon_backbones.blocks.precision import at_least_float32, without_autocast
from recon_backbones.blocks.token_order import TokenOrder, order_index
from recon_backbones.blocks.transformer import Block, Mlp, init_transformer
from recon_backbones.da3.single.config import MonoConfig


class MonoDepth(NamedTuple):
    """What a single-view network sees, `b v y x` each, float32.

    `depth` is z-depth without a unit; that of a metric network is meters for a camera with the
    network's canonical focal length (`recon_backbones.in_meters` converts). `sky` is at
    least 0; 0.3 and more means sky, where depth says nothing.
    """

    depth: Float[Tensor, "b v y x"]
    sky: Float[Tensor, "b v y x"]


class MonoTransformer(nn.Module):
    """DINOv2 without registers; every view is a sequence of its own."""

    def __init__(self, config: MonoConfig) -> None:
        super().__init__()
        c = config.embed_dim
        self.config = config
        self.token_order: TokenOrder = "raster"
        self.patch_embed = PatchEmbed(config.patch_size, c)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.pos_grid**2, c))
        self.blocks = nn.ModuleList(
            Block(
                c,
                config.num_heads,
                feed_forward=Mlp(c, c * config.mlp_ratio),
                norm_eps=1e-6,
                layer_scale=config.layer_scale,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(c)

    def forward(self, images: Float[Tensor, "b 3 y x"], grid: Size) -> list[Tensor]:
        """Return the normalized patch tokens of the four out layers, `b n c` in raster order."""
        order, raster = order_index(self.token_order, grid, images.device)
        positions = resize_positions(self.pos_embed, grid, by="offset_scale")
        special = self.cls_token + positions[:, :1]
        x = embed_patches(self.patch_embed(images), positions, special, order)
        pinned = torch.zeros(1, dtype=torch.int64, device=x.device)
        levels = []
        for i, block in enumerate(self.blocks):
            x = block(x, pinned=pinned)
            if i in self.config.out_layers:
                patches = self.norm(x[:, 1:])
                levels.append(patches if raster is None else patches[:, raster])
        return levels


class SkyDpt(DptTrunk):
    """A dense head with depth and sky over one feature map."""

    def __init__(self, config: MonoConfig) -> None:
        features = config.head_features
        super().__init__(
            config.embed_dim,
            features,
            config.head_out_channels,
            skip="plain",
            norm=False,
            position=False,
        )
        half = features // 2
        self.scratch["output_conv1"] = nn.Conv2d(features, half, 3, padding=1)
        for name in ("output_conv2", "sky_output_conv2"):
            self.scratch[name] = nn.Sequential(
                nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1)
            )

    def both(
        self, levels: Sequence[Float[Tensor, "b n c"]], grid: Size, size: Size
    ) -> tuple[Float[Tensor, "b y x"], Float[Tensor, "b y x"]]:
        """Depth and sky at image size; `exp` runs in float32."""
        x = self.scratch["output_conv1"](self.fuse(self.laterals(levels, grid, size[1] / size[0])))
        names = ("output_conv2", "sky_output_conv2")
        depth, sky = self.full_size(x, size, [self.scratch[name] for name in names])
        return at_least_float32(depth[:, 0]).exp(), F.relu(at_least_float32(sky[:, 0]))


class _Pretrained(nn.Module):
    """The level of naming that the public checkpoints put above the transformer."""

    def __init__(self, config: MonoConfig) -> None:
        super().__init__()
        self.pretrained = MonoTransformer(config)


class MonoNet(nn.Module):
    """Single-view Depth Anything 3 on normalized images, with the public names."""

    def __init__(self, config: MonoConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _Pretrained(config)
        self.head = SkyDpt(config)

    def forward(self, images: Float[Tensor, "b v 3 y x"], *, head_chunk: int = 8) -> MonoDepth:
        """Run the whole network on `head_chunk` views at a time: views do not meet."""
        size, patch = (images.shape[-2], images.shape[-1]), self.config.patch_size
        grid = (size[0] // patch, size[1] // patch)
        depths, skies = [], []
        for part in rearrange(images, "b v c y x -> (b v) c y x").split(head_chunk):
            levels = self.backbone.pretrained(part, grid)
            with without_autocast(images):
                levels = [level.to(self.head.projects[0].weight.dtype) for level in levels]
                depth, sky = self.head.both(levels, grid, size)
            depths.append(depth)
            skies.append(sky)
        found = (torch.cat(depths), torch.cat(skies))
        return MonoDepth(*(rearrange(t, "(b v) y x -> b v y x", b=len(images)) for t in found))

    def init_weights(self) -> None:
        """Draw weights for training from scratch, from the global random state."""
        init_transformer(self)
        for token in (self.backbone.pretrained.cls_token, self.backbone.pretrained.pos_embed):
            nn.init.trunc_normal_(token, std=0.02)
