"""Architecture of the Depth Anything 3 models that take any number of views."""

from dataclasses import dataclass
from typing import Literal

from recon_backbones.blocks.sizes import (
    check_channels,
    check_heads_divide,
    check_out_layers,
    check_rotates,
)


@dataclass(frozen=True, kw_only=True)
class DA3Config:
    """Sizes of one Depth Anything 3 network (arXiv 2511.10647).

    Blocks from `alt_start` on alternate: even ones stay inside a view, odd ones see all views.
    `out_layers` are the four blocks whose tokens the heads read. `head_features` and
    `head_out_channels` size the dense heads, `cam_enc_depth` and `cam_enc_heads` the encoder of
    given cameras. `layer_scale` is the start of the per-channel residual factors; it matters for
    training from scratch only. The Gaussian head, where there is one, has the sizes of the
    depth head unless it is given its own. `pos_grid` is the side, in patches, of the stored
    position table.
    """

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: int = 4
    ffn: Literal["mlp", "swiglu"] = "mlp"
    alt_start: int
    qknorm_start: int
    rope_start: int
    rope_freq: float = 100.0
    out_layers: tuple[int, int, int, int]
    head_features: int
    head_out_channels: tuple[int, int, int, int]
    cam_enc_depth: int = 4
    cam_enc_heads: int = 16
    gaussian_head: bool = False
    gaussian_features: int | None = None
    gaussian_out_channels: tuple[int, int, int, int] | None = None
    patch_size: int = 14
    pos_grid: int = 37
    layer_scale: float = 1.0

    def __post_init__(self) -> None:
        check_heads_divide("num_heads", self.num_heads, self.embed_dim)
        check_heads_divide("cam_enc_heads", self.cam_enc_heads, self.embed_dim)
        check_rotates(self.head_dim)
        check_out_layers(self.out_layers, self.depth)
        check_channels((*self.head_out_channels, self.head_features // 2))
        if not 1 <= self.alt_start <= self.depth:
            raise ValueError(
                f"alt_start={self.alt_start}; it must be in 1..depth={self.depth}: choose one there"
            )
        if self.ffn not in ("mlp", "swiglu"):
            raise ValueError(f"ffn={self.ffn!r}; it must be known: pass 'mlp' or 'swiglu'")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    def is_global(self, block: int) -> bool:
        """Whether the block attends over the tokens of all views."""
        return block >= self.alt_start and block % 2 == 1


def da3_tiny() -> DA3Config:
    """About 6 million parameters: small enough to ship and to train on a CPU."""
    return DA3Config(
        embed_dim=192,
        depth=10,
        num_heads=3,
        alt_start=2,
        qknorm_start=2,
        rope_start=2,
        out_layers=(3, 5, 7, 9),
        head_features=32,
        head_out_channels=(24, 48, 96, 96),
        cam_enc_depth=1,
    )


def da3_small() -> DA3Config:
    """34 million parameters."""
    return _twelve_blocks(embed_dim=384, num_heads=6, features=64, channels=(48, 96, 192, 384))


def da3_base() -> DA3Config:
    """135 million parameters."""
    return _twelve_blocks(embed_dim=768, num_heads=12, features=128, channels=(96, 192, 384, 768))


def da3_large() -> DA3Config:
    """411 million parameters."""
    return DA3Config(
        embed_dim=1024,
        depth=24,
        num_heads=16,
        alt_start=8,
        qknorm_start=8,
        rope_start=8,
        out_layers=(11, 15, 19, 23),
        head_features=256,
        head_out_channels=(256, 512, 1024, 1024),
    )


def da3_giant() -> DA3Config:
    """1356 million parameters, with the Gaussian head."""
    return DA3Config(
        embed_dim=1536,
        depth=40,
        num_heads=24,
        ffn="swiglu",
        alt_start=13,
        qknorm_start=13,
        rope_start=13,
        out_layers=(19, 27, 33, 39),
        head_features=256,
        head_out_channels=(256, 512, 1024, 1024),
        gaussian_head=True,
    )


def _twelve_blocks(
    *, embed_dim: int, num_heads: int, features: int, channels: tuple[int, int, int, int]
) -> DA3Config:
    return DA3Config(
        embed_dim=embed_dim,
        depth=12,
        num_heads=num_heads,
        alt_start=4,
        qknorm_start=4,
        rope_start=4,
        out_layers=(5, 7, 9, 11),
        head_features=features,
        head_out_channels=channels,
    )
