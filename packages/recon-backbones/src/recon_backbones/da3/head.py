"""The dual head of Depth Anything 3: depth from one chain, rays from the other."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.dpt import DptTrunk, Size, add_position, fusion_blocks
from recon_backbones.blocks.precision import at_least_float32
from recon_backbones.da3.config import DA3Config


class Depth(NamedTuple):
    """Depth and its confidence (at least 1), `b y x`, float32."""

    depth: Float[Tensor, "b y x"]
    confidence: Float[Tensor, "b y x"]


class Rays(NamedTuple):
    """Ray direction and origin in the world, `b y x 6`, and confidence, at 8 per patch side."""

    rays: Float[Tensor, "b y x 6"]
    confidence: Float[Tensor, "b y x"]


class DualDpt(DptTrunk):
    """Two top-down chains over the same laterals; the ray chain runs only when asked for."""

    def __init__(self, config: DA3Config) -> None:
        features = config.head_features
        super().__init__(
            2 * config.embed_dim,
            features,
            config.head_out_channels,
            skip="plain",
            norm=True,
            position=True,
        )
        half = features // 2
        self.scratch["output_conv1"] = nn.Conv2d(features, half, 3, padding=1)
        self.scratch["output_conv2"] = nn.Sequential(
            nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 1)
        )
        self.scratch.update(fusion_blocks(features, skip="plain", suffix="_aux"))
        self.scratch["output_conv1_aux"] = nn.ModuleList(_pre_rays(features) for _ in range(4))
        self.scratch["output_conv2_aux"] = nn.ModuleList(_ray_tail(half, i) for i in range(4))

    def depth(self, laterals: Sequence[Tensor], size: Size) -> Depth:
        """Depth at image size; `exp` runs in float32."""
        aspect = size[1] / size[0]
        x = self.scratch["output_conv1"](self.fuse(laterals))
        (y,) = self.full_size(
            x,
            size,
            [self.scratch["output_conv2"]],
            enrich=lambda wide, _: add_position(wide, aspect),
        )
        y = at_least_float32(y)
        return Depth(y[:, 0].exp(), y[:, 1].exp() + 1)

    def rays(self, laterals: Sequence[Tensor], size: Size) -> Rays:
        """Rays at eight samples per patch side.

        Checkpoints hold tails for all four levels, of which only the finest is ever read.
        """
        x = self.fuse(laterals, suffix="_aux")
        x = self.scratch.get_submodule("output_conv1_aux.3")(x)
        x = add_position(x, size[1] / size[0])
        tail = self.scratch["output_conv2_aux"].get_submodule
        x = rearrange(tail("3.0")(x), "b c y x -> b y x c")
        x = rearrange(F.relu(tail("0.2")(x)), "b y x c -> b c y x")  # one norm for all levels
        y = at_least_float32(rearrange(tail("3.5")(x), "b c y x -> b y x c"))
        return Rays(y[..., :6], y[..., 6].exp() + 1)


def _pre_rays(features: int) -> nn.Sequential:
    half = features // 2
    widths = ((features, half), (half, features)) * 2 + ((features, half),)
    return nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in widths))


def _ray_tail(half: int, level: int) -> nn.ModuleDict:
    """Build a ray tail; the shared norm is stored at the first level, as in the public files."""
    tail = nn.ModuleDict({"0": nn.Conv2d(half, 32, 3, padding=1)})
    if level == 0:
        tail["2"] = nn.LayerNorm(32)
    tail["5"] = nn.Conv2d(32, 7, 1)
    return tail
