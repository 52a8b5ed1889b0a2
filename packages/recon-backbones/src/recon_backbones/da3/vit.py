"""The Depth Anything 3 vision transformer: local blocks, then local and global in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon_backbones.backbone import Reference
from recon_backbones.blocks.patches import PatchEmbed, embed_patches, resize_positions
from recon_backbones.blocks.rope import RotaryTable, grid_positions, rotary_table
from recon_backbones.blocks.streaming import Keeper
from recon_backbones.blocks.token_order import TokenOrder, order_index
from recon_backbones.blocks.transformer import Block, Mlp, SwiGlu
from recon_backbones.da3.config import DA3Config
from recon_backbones.da3.reference import leading_order, reference_view, take_views


@dataclass(frozen=True, kw_only=True)
class Level:
    """Tokens of one out layer, `b v n c` each, in the network's own order of views and tokens.

    `views[i, j]` is the place that input view j of scene i has in this level.
    """

    local: Tensor
    current: Tensor
    views: Int64[Tensor, "b v"]

    @property
    def halves(self) -> tuple[Tensor, Tensor]:
        """Both kinds of tokens; they may wait in the host's memory."""
        return self.local, self.current


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What the transformer hands to the heads.

    `raster[n]` is the place of patch n in raster order (None if tokens already lie so);
    `features` are in the order of the input; `reference` is the leading view.
    """

    levels: tuple[Level, ...]
    features: dict[int, Tensor]
    grid: tuple[int, int]
    raster: Int64[Tensor, " n"] | None
    reference: Int64[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """Rotation table and special positions of one scope's sequences."""

    rope: RotaryTable
    pinned: Tensor


class VisionTransformer(Keeper):
    """Patch tokens of all views, led by one special token a view.

    Until block `alt_start` the special token is DINOv2's class token; there a camera token takes
    its place: a learned one, or the encoding of a given camera.
    """

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        c = config.embed_dim
        self.config = config
        self.token_order: TokenOrder = "raster"
        self.patch_embed = PatchEmbed(config.patch_size, c)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c))
        self.camera_token = nn.Parameter(torch.zeros(1, 2, c))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.pos_grid**2, c))
        self.blocks = nn.ModuleList(_block(config, i) for i in range(config.depth))
        self.norm = nn.LayerNorm(c)

    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        camera_tokens: Float[Tensor, "b v c"] | None = None,
        reference: Reference = "saddle_balanced",
        features: Sequence[int] = (),
    ) -> Tokens:
        """Run all blocks on normalized images; keep only the levels and `features` asked for.

        With three views or more and no camera tokens, the reference view is moved to the front
        before block `alt_start - 1`.
        """
        config = self.config
        b, v = images.shape[:2]
        grid = (images.shape[-2] // config.patch_size, images.shape[-1] // config.patch_size)
        order, raster = order_index(self.token_order, grid, images.device)
        x = self._embed(images, grid, order)
        stages = self._stages(v, grid, order, x)
        leader = torch.zeros(b, dtype=torch.int64, device=x.device)
        places = torch.arange(v, device=x.device).expand(b, v)
        levels, kept = [], {}
        local = x
        for i, block in enumerate(self.blocks):
            if i == config.alt_start - 1 and v >= 3 and camera_tokens is None:
                leader = reference_view(x[:, :, 0], reference)
                to_front = leading_order(leader, v)
                x, places = take_views(x, to_front), to_front.argsort(dim=1)
            if i == config.alt_start:
                local = x = torch.cat((self._cameras(camera_tokens, b, v, x), x[:, :, 1:]), dim=2)
            x = _run(block, x, stages[int(config.is_global(i))], i, config)
            local = local if config.is_global(i) else x
            if i in config.out_layers:
                kept_local, kept_current = self.keep(local), self.keep(x)
                levels.append(Level(local=kept_local, current=kept_current, views=places))
            if i in features:
                unordered = x if i < config.alt_start - 1 else take_views(x, places)
                patches = self.norm(unordered)[:, :, 1:]
                kept[i] = patches if raster is None else patches[:, :, raster]
        return Tokens(
            levels=tuple(levels),
            features=kept,
            grid=grid,
            raster=raster,
            reference=leader,
        )

    def _embed(self, images: Tensor, grid: tuple[int, int], order: Tensor | None) -> Tensor:
        b, v = images.shape[:2]
        patches = self.patch_embed(rearrange(images, "b v c y x -> (b v) c y x"))
        positions = resize_positions(self.pos_embed, grid, by="offset_scale")
        x = embed_patches(patches, positions, self.cls_token + positions[:, :1], order)
        return rearrange(x, "(b v) n c -> b v n c", b=b, v=v)

    def _stages(
        self, views: int, grid: tuple[int, int], order: Tensor | None, x: Tensor
    ) -> tuple[_Stage, _Stage]:
        """Make the local and the global stage; global rotation knows only special or patch."""
        config = self.config
        positions = grid_positions(*grid, special_tokens=1, device=x.device)
        if order is not None:
            positions = torch.cat((positions[:1], positions[1:][order]))
        flat = repeat(positions.clamp_max(1), "n yx -> (v n) yx", v=views)
        starts = torch.arange(views, device=x.device) * x.shape[2]
        dtype = torch.float32 if x.dtype == torch.float64 else x.dtype
        local, spread = (
            rotary_table(p, config.head_dim, base=config.rope_freq, dtype=dtype)
            for p in (positions, flat)
        )
        return _Stage(rope=local, pinned=starts[:1]), _Stage(rope=spread, pinned=starts)

    def _cameras(self, given: Tensor | None, b: int, v: int, x: Tensor) -> Tensor:
        if given is not None:
            return given.to(x.dtype).unsqueeze(2)
        first, other = self.camera_token.to(x.dtype).chunk(2, dim=1)
        return torch.cat((first.expand(b, 1, -1), other.expand(b, v - 1, -1)), dim=1).unsqueeze(2)


def _block(config: DA3Config, index: int) -> Block:
    c, hidden = config.embed_dim, config.embed_dim * config.mlp_ratio
    return Block(
        c,
        config.num_heads,
        feed_forward=Mlp(c, hidden) if config.ffn == "mlp" else SwiGlu(c, hidden),
        norm_eps=1e-6,
        qk_norm=index >= config.qknorm_start,
        layer_scale=config.layer_scale,
    )


def _run(block: nn.Module, x: Tensor, stage: _Stage, index: int, config: DA3Config) -> Tensor:
    rope = stage.rope if index >= config.rope_start else None
    one = "b (v n) c" if config.is_global(index) else "(b v) n c"
    y = block(rearrange(x, f"b v n c -> {one}"), rope=rope, pinned=stage.pinned)
    return rearrange(y, f"{one} -> b v n c", b=x.shape[0], v=x.shape[1])
