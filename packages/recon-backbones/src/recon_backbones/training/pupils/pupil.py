"""A network in training, and what the objective asks of every family of networks.

Most steps do not run the convolutional heads, which cost a third of a step. They train the
transformer through one linear layer that reads depth and rays off each patch token: the probe,
which is thrown away after training.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.transformer import Block
from recon_backbones.training.losses import masked_mean
from recon_backbones.training.targets import PATCH, Targets, rays

GRID = 4
"""Depth samples along the side of one patch."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a step runs: with true cameras given, with the dense heads, with more than depth.

    With `detach` the transformer does not follow the probe, which is still a beginner.
    """

    posed: bool = False
    dense: bool = True
    rays: bool = True
    detach: bool = False


class Pupil(nn.Module, ABC):
    """The network in training, and the probe beside it.

    - `special`: tokens ahead of the patches of each view.
    """

    special: int

    def __init__(self, network: nn.Module, *, width: int) -> None:
        super().__init__()
        self.network: Any = network
        self.probe = nn.Linear(2 * width, GRID * GRID + 6)
        nn.init.trunc_normal_(self.probe.weight, std=0.02)
        nn.init.zeros_(self.probe.bias)

    @abstractmethod
    def blocks(self) -> dict[str, Block]:
        """The blocks of the transformer, by name."""

    @abstractmethod
    def spread(self) -> list[Block]:
        """Those among them whose attention is global, in the order of the network."""

    @abstractmethod
    def trunk(
        self, images: Float[Tensor, "b v 3 y x"], targets: Targets, way: Way
    ) -> tuple[dict[str, Tensor], Float[Tensor, "b v p d"]]:
        """Run the transformer on images in [0, 1]: the terms of cameras, and what the probe reads.

        Patch tokens are in raster order.
        """

    @abstractmethod
    def heads(
        self, images: Float[Tensor, "b v 3 y x"], targets: Targets, way: Way
    ) -> dict[str, Tensor]:
        """Run the whole network on images in [0, 1]: the terms of cameras and of dense heads."""

    @abstractmethod
    def answer(
        self, images: Float[Tensor, "v 3 y x"]
    ) -> tuple[Float[Tensor, "v y x"], Float[Tensor, "v 3 4"]]:
        """Depth and `world_to_camera` of one scene, by the network as it is, in float32."""

    def terms(self, images: Tensor, targets: Targets, way: Way) -> dict[str, Tensor]:
        """The terms of a step, but for that of correspondences."""
        if way.dense:
            return self.heads(images, targets, way)
        terms, patches = self.trunk(images, targets, way)
        guess = self.probe(patches.detach() if way.detach else patches)
        return probe_terms(guess.float(), targets) | terms

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the transformer."""
        return self.probe.weight.dtype


def probe_terms(answer: Float[Tensor, "b v p e"], targets: Targets) -> dict[str, Tensor]:
    """L1 of log depth on a 4 x 4 grid in each patch, and of the ray through its center."""
    rows, columns = (side // PATCH for side in targets.depth.shape[-2:])
    goal, valid = (_samples(t) for t in (targets.depth, targets.valid))
    true = rearrange(rays(targets, rows, columns), "b v r c e -> b v (r c) e")
    count = GRID * GRID
    return {
        "depth": masked_mean((answer[..., :count] - goal.log()).abs(), valid),
        "rays": (answer[..., count:] - true).abs().mean(),
    }


def _samples(pixels: Tensor) -> Tensor:
    """A grid of pixels of each patch: `b v patches samples`."""
    at = torch.tensor([int((i + 0.5) * PATCH / GRID) for i in range(GRID)], device=pixels.device)
    patches = rearrange(pixels, "b v (r a) (c d) -> b v r a c d", a=PATCH, d=PATCH)
    few = patches.index_select(3, at).index_select(5, at)
    return rearrange(few, "b v r a c d -> b v (r c) (a d)")
