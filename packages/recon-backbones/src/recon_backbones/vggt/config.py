"""Architecture of VGGT."""

from dataclasses import dataclass, field

from recon_backbones.blocks.sizes import (
    check_channels,
    check_heads_divide,
    check_out_layers,
    check_rotates,
)


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """Sizes of the point tracker.

    `features` is the width of the feature map, `hidden` that of the update transformer. The
    correlation looks at `levels` scales, `radius` pixels to each side.
    """

    features: int = 128
    out_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    hidden: int = 384
    depth: int = 6
    num_heads: int = 8
    virtual_tracks: int = 64
    levels: int = 7
    radius: int = 4
    iterations: int = 4

    @property
    def window(self) -> int:
        """Number of correlation samples per scale."""
        return (2 * self.radius + 1) ** 2

    @property
    def token_width(self) -> int:
        """Width of a track token: embedded flow, correlation, feature, and the flow twice."""
        return 3 * self.features + 4


@dataclass(frozen=True, kw_only=True)
class VggtConfig:
    """Sizes of one VGGT network (arXiv 2503.11651).

    `dino_depth` and `dino_heads` size the per-view image encoder, `depth` the number of pairs of a
    frame and a global block. The heads read the pairs `out_layers`; the camera head the last pair.
    `layer_scale` is the start of the residual factors behind the image encoder; it matters for
    training from scratch only.
    """

    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: int = 4
    num_registers: int = 4
    rope_freq: float = 100.0
    dino_depth: int = 24
    dino_heads: int = 16
    dino_registers: int = 4
    camera_depth: int = 4
    camera_heads: int = 16
    camera_iterations: int = 4
    head_features: int = 256
    head_out_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    out_layers: tuple[int, int, int, int] = (4, 11, 17, 23)
    track: TrackConfig = field(default_factory=TrackConfig)
    patch_size: int = 14
    pos_grid: int = 37
    layer_scale: float = 0.01

    def __post_init__(self) -> None:
        check_heads_divide("num_heads", self.num_heads, self.embed_dim)
        check_heads_divide("dino_heads", self.dino_heads, self.embed_dim)
        check_heads_divide("camera_heads", self.camera_heads, 2 * self.embed_dim)
        check_rotates(self.head_dim)
        check_out_layers(self.out_layers, self.depth)
        check_channels((*self.head_out_channels, self.head_features // 2))

    @property
    def head_dim(self) -> int:
        """Width of one attention head of the frame and global blocks."""
        return self.embed_dim // self.num_heads

    @property
    def special_tokens(self) -> int:
        """Camera and register tokens in front of each view's patches."""
        return 1 + self.num_registers


def vggt_1b() -> VggtConfig:
    """The public model: 1257 million parameters."""
    return VggtConfig()


def vggt_tiny() -> VggtConfig:
    """About 9 million parameters: small enough to ship and to train on a CPU."""
    return VggtConfig(
        embed_dim=192,
        depth=4,
        num_heads=3,
        dino_depth=2,
        dino_heads=3,
        camera_depth=1,
        camera_heads=6,
        head_features=32,
        head_out_channels=(24, 48, 96, 96),
        out_layers=(0, 1, 2, 3),
        layer_scale=1.0,
        track=TrackConfig(
            features=32,
            out_channels=(24, 48, 96, 96),
            hidden=64,
            depth=2,
            num_heads=4,
            levels=4,
            radius=3,
        ),
    )
