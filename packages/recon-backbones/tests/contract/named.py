"""The backbones that keep the contract, and how each is called."""

from typing import Any

import torch
from torch import Tensor

from recon_backbones import Backbone, Prediction

NAMES = ("da3-tiny", "vggt-tiny", "da3metric-tiny", "da3nested-tiny", "conv-tiny")


def images_for(backbone: Backbone, views: int = 3, cells: tuple[int, int] = (4, 5)) -> Tensor:
    sides = [side * backbone.patch_size for side in cells]
    return torch.rand(1, views, 3, *sides)


def run(backbone: Backbone, images: Tensor, **options: Any) -> Prediction:
    """Predict, with cameras where the backbone finds none by itself."""
    if not backbone.needs_cameras:
        return backbone(images, **options)
    b, v, _, height, width = images.shape
    k = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    return backbone(
        images,
        world_to_camera=torch.eye(3, 4).to(images).repeat(b, v, 1, 1),
        intrinsics=k.to(images).repeat(b, v, 1, 1),
        **options,
    )


def widest(backbone: Backbone) -> str:
    """The scope of the attentions that see most: over all views, where there are any."""
    scopes = {site.scope for site in backbone.attention_sites()}
    return "global" if "global" in scopes else "frame"
