"""A cheap stand-in for the dense heads: it reads depth and rays off each patch token.

The convolutional heads cost a third of a step. Most steps therefore train the transformer through
this one linear layer, and only some run the heads. It is thrown away after training.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.da3.model import DA3Net
from recon_backbones.da3.vit import Tokens

from .targets import PATCH, Targets, rays

GRID = 4
"""Depth samples along the side of one patch."""


class Pupil(nn.Module):
    """The network in training, and the probe beside it."""

    def __init__(self, network: DA3Net) -> None:
        super().__init__()
        self.network = network
        self.probe = nn.Linear(2 * network.config.embed_dim, GRID * GRID + 6)
        nn.init.trunc_normal_(self.probe.weight, std=0.02)
        nn.init.zeros_(self.probe.bias)

    def trunk(
        self, images: Float[Tensor, "b v 3 y x"], camera_tokens: Tensor | None
    ) -> tuple[Float[Tensor, "b v 9"], Float[Tensor, "b v p e"]]:
        """Run the transformer alone: pose encodings, and the probe's answer for each patch."""
        vit = self.network.backbone.pretrained
        tokens: Tokens = vit(images, camera_tokens=camera_tokens, reference="first")
        last = tokens.levels[-1]
        camera = torch.cat([last.local[:, :, 0], last.current[:, :, 0]], dim=-1)
        patches = torch.cat([last.local[:, :, 1:], vit.norm(last.current[:, :, 1:])], dim=-1)
        return self.network.cam_dec(camera), self.probe(patches).float()


def probe_terms(answer: Float[Tensor, "b v p e"], targets: Targets) -> dict[str, Tensor]:
    """L1 of log depth on a 4 x 4 grid in each patch, and of the ray through its centre."""
    rows, columns = (side // PATCH for side in targets.depth.shape[-2:])
    at = [int((i + 0.5) * PATCH / GRID) for i in range(GRID)]
    patches = targets.depth.unflatten(-1, (columns, PATCH)).unflatten(-3, (rows, PATCH))
    patches = patches[:, :, :, at][..., at].transpose(3, 4)  # [b v rows columns GRID GRID]
    goal = patches.flatten(4).flatten(2, 3).log()
    count = GRID * GRID
    return {
        "depth": (answer[..., :count] - goal).abs().mean(),
        "rays": (answer[..., count:] - rays(targets, rows, columns).flatten(2, 3)).abs().mean(),
    }
