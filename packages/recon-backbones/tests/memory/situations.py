"""A scene whose memory is asked for, and a network that runs out of it."""

import copy
from typing import Any

import torch

from recon_backbones import Backbone
from recon_backbones.views.plan import Situation

SITUATION = Situation(
    backbone="da3-tiny", views=8, height=84, width=112, device="cpu", held=300_000_000
)


def exhausted(
    backbone: Backbone, views: int, error: Exception
) -> tuple[Backbone, list[tuple[int, int]]]:
    """A backbone that fails, as where memory is short, for more than so many views; its calls."""
    failing, asked = copy.copy(backbone), []

    def forward(images: torch.Tensor, *, head_chunk: int = 8, **given: Any) -> Any:
        asked.append((images.shape[1], head_chunk))
        if images.shape[1] > views:
            raise error
        return backbone(images, head_chunk=head_chunk, **given)

    failing.forward = forward  # type: ignore[method-assign]
    return failing, asked
