"""A cheap stand-in for the dense heads: it reads depth and rays off each patch token.

The convolutional heads cost a third of a step. Most steps therefore train the transformer through
this one linear layer, and only some run the heads. It is thrown away after training.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.training.losses import masked_mean
from recon_backbones.training.targets import PATCH, Targets, rays

GRID = 4
"""Depth samples along the side of one patch."""


class Pupil(nn.Module):
    """The network in training, and the probe beside it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.probe = nn.Linear(2 * network.config.embed_dim, GRID * GRID + 6)
        nn.init.trunc_normal_(self.probe.weight, std=0.02)
        nn.init.zeros_(self.probe.bias)

    def trunk(
        self, images: Float[Tensor, "b v 3 y x"], camera_tokens: Tensor | None, *, detach: bool
    ) -> tuple[Float[Tensor, "b v 9"], Float[Tensor, "b v p e"]]:
        """Run the transformer alone: pose encodings, and the probe's answer for each patch.

        With `detach` the transformer does not follow the probe, which is still a beginner.
        """
        vit = self.network.backbone.pretrained
        tokens = vit(images, camera_tokens=camera_tokens, reference="first")
        last = tokens.levels[-1]
        camera = torch.cat([last.local[:, :, 0], last.current[:, :, 0]], dim=-1)
        patches = torch.cat([last.local[:, :, 1:], vit.norm(last.current[:, :, 1:])], dim=-1)
        answer = self.probe(patches.detach() if detach else patches)
        return self.network.cam_dec(camera).float(), answer.float()


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
