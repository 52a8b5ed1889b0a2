"""Architecture of the Depth Anything 3 models that take each view by itself."""

from dataclasses import dataclass

from recon_backbones.blocks.sizes import check_heads_divide, check_out_layers


@dataclass(frozen=True, kw_only=True)
class MonoConfig:
    """Sizes of one single-view Depth Anything 3 network (arXiv 2511.10647).

    The head reads the blocks `out_layers`. `canonical_focal` belongs to metric networks: the focal
    length, in pixels, at which their depth is meters; it is None where depth has no unit.
    `layer_scale` is the start of the residual factors, which matters for training only. `pos_grid`
    is the side, in patches, of the stored position table.
    """

    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: int = 4
    out_layers: tuple[int, int, int, int] = (4, 11, 17, 23)
    head_features: int = 256
    head_out_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    canonical_focal: float | None = None
    patch_size: int = 14
    pos_grid: int = 37
    layer_scale: float = 1.0

    def __post_init__(self) -> None:
        check_heads_divide("num_heads", self.num_heads, self.embed_dim)
        check_out_layers(self.out_layers, self.depth)
        if self.canonical_focal is not None and not self.canonical_focal > 0:
            raise ValueError(
                f"canonical_focal={self.canonical_focal}; it must be positive pixels: 300 is "
                "that of the public weights"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads


def da3mono_large() -> MonoConfig:
    """334 million parameters: depth without a unit, and sky."""
    return MonoConfig()


def da3metric_large() -> MonoConfig:
    """The same sizes, trained for meters at a focal length of 300 pixels."""
    return MonoConfig(canonical_focal=300.0)


def da3metric_tiny() -> MonoConfig:
    """A metric network of 1.2 million parameters, for tests and trials."""
    return MonoConfig(
        embed_dim=96,
        depth=6,
        num_heads=3,
        out_layers=(1, 2, 4, 5),
        head_features=32,
        head_out_channels=(24, 48, 96, 96),
        canonical_focal=300.0,
    )
