"""The Gaussian head of Depth Anything 3 Giant: raw splat parameters per pixel."""

from collections.abc import Sequence
from typing import NamedTuple

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.dpt import DptTrunk, Size, add_position
from recon_backbones.blocks.precision import at_least_float32
from recon_backbones.da3.config import DA3Config


class RawGaussians(NamedTuple):
    """Raw parameters `b y x 37` and opacity `b y x`.

    The 37: pixel offset (2), scale (3), quaternion x y z w (4), spherical harmonics (3 x 9), depth
    offset (1).
    """

    raw: Float[Tensor, "b y x 37"]
    opacity: Float[Tensor, "b y x"]


class GaussianDpt(DptTrunk):
    """A dense head that also looks at the image itself."""

    def __init__(self, config: DA3Config) -> None:
        features = config.gaussian_features or config.head_features
        super().__init__(
            2 * config.embed_dim,
            features,
            config.gaussian_out_channels or config.head_out_channels,
            skip="plain",
            norm=False,
            position=True,
        )
        half = features // 2
        widths = ((3, half // 4), (half // 4, half // 2), (half // 2, half))
        layers: list[nn.Module] = []
        for a, b in widths:
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.GELU()]
        self.images_merger = nn.Sequential(*layers)
        self.scratch["output_conv1"] = nn.Conv2d(features, half, 3, padding=1)
        self.scratch["output_conv2"] = nn.Sequential(
            nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 38, 1)
        )

    def gaussians(
        self, laterals: Sequence[Tensor], images: Float[Tensor, "b 3 y x"], size: Size
    ) -> RawGaussians:
        """Predict from laterals and the normalized images they came from."""
        (y,) = self.full_size(
            self.scratch["output_conv1"](self.fuse(laterals)),
            size,
            [self.scratch["output_conv2"]],
            enrich=lambda wide, rows: add_position(
                wide + self.images_merger(images[rows]), size[1] / size[0]
            ),
        )
        y = at_least_float32(rearrange(y, "b c y x -> b y x c"))
        return RawGaussians(y[..., :37], y[..., 37].sigmoid())
