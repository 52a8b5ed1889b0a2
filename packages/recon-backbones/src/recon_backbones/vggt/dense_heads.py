"""VGGT's dense heads: depth, points, and the feature map of the tracker."""

from collections.abc import Sequence
from typing import NamedTuple

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.dpt import DptTrunk, Size, add_position, resize
from recon_backbones.blocks.precision import at_least_float32
from recon_backbones.vggt.config import VggtConfig


class Dense(NamedTuple):
    """Values `b y x c` and confidence `b y x` (at least 1), float32."""

    values: Float[Tensor, "b y x c"]
    confidence: Float[Tensor, "b y x"]


class DenseHead(DptTrunk):
    """A dense head with `outputs` values and one confidence per pixel."""

    def __init__(self, config: VggtConfig, outputs: int) -> None:
        features = config.head_features
        super().__init__(
            2 * config.embed_dim,
            features,
            config.head_out_channels,
            skip="relu",
            norm=True,
            position=True,
        )
        half = features // 2
        self.scratch["output_conv1"] = nn.Conv2d(features, half, 3, padding=1)
        self.scratch["output_conv2"] = nn.Sequential(
            nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, outputs + 1, 1)
        )

    def raw(
        self, levels: Sequence[Float[Tensor, "b n d"]], grid: Size, size: Size
    ) -> Float[Tensor, "b y x c"]:
        """Run the head up to its last convolution, in float32 from there."""
        aspect = size[1] / size[0]
        x = self.scratch["output_conv1"](self.fuse(self.laterals(levels, grid, aspect)))
        (y,) = self.full_size(
            x,
            size,
            [self.scratch["output_conv2"]],
            enrich=lambda wide, _: add_position(wide, aspect),
        )
        return at_least_float32(rearrange(y, "b c y x -> b y x c"))


def depth_of(raw: Float[Tensor, "b y x 2"]) -> Dense:
    """Depth exp(y) and confidence 1 + exp(y)."""
    return Dense(raw[..., :1].exp(), raw[..., 1].exp() + 1)


def points_of(raw: Float[Tensor, "b y x 4"]) -> Dense:
    """Points sign(y) (exp|y| - 1), in the first view's frame, and confidence 1 + exp(y)."""
    return Dense(raw[..., :3].sign() * raw[..., :3].abs().expm1(), raw[..., 3].exp() + 1)


class FeatureHead(DptTrunk):
    """The tracker's feature map, at half the image size."""

    def __init__(self, config: VggtConfig) -> None:
        features = config.track.features
        super().__init__(
            2 * config.embed_dim,
            features,
            config.track.out_channels,
            skip="relu",
            norm=True,
            position=False,
        )
        self.scratch["output_conv1"] = nn.Conv2d(features, features, 3, padding=1)

    def feature_map(
        self, levels: Sequence[Float[Tensor, "b n d"]], grid: Size, size: Size
    ) -> Float[Tensor, "b c Y X"]:
        """Return features at half of `size`."""
        x = self.scratch["output_conv1"](self.fuse(self.laterals(levels, grid, size[1] / size[0])))
        return resize(x, (size[0] // 2, size[1] // 2))
