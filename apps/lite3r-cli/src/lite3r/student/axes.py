"""What an order and its summaries are calibrated to: found on images once, kept by the student."""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from lite3r.student.recipes import Recipe
from recon_backbones import Backbone
from recon_eval.data import SyntheticScenes, SyntheticWorld
from sla_kernels import SparseLinearAttention, calibrate

Calibrate = Callable[[Backbone], object] | Float[Tensor, "b v 3 y x"]

SIZE = 224


def find_axes(backbone: Backbone, images: Calibrate, *, offsets: bool = True) -> None:
    """Store the axes of every content order of a light backbone, in place.

    - `images`: in [0, 1], all in one pass; or a callable that runs the backbone as it likes.
    - `offsets`: whether to store what the cells of summaries understate as well, from another pass.
    """
    calibrate(backbone, lambda: run_on(images, backbone), offsets=offsets)


@torch.no_grad()
def run_on(images: Calibrate, backbone: Backbone) -> None:
    """Let a backbone see what it is calibrated on."""
    if callable(images):
        images(backbone)
    else:
        like = next(backbone.parameters())
        backbone(images.to(device=like.device, dtype=like.dtype))


def run_on_drawn(backbone: Backbone, size: int = SIZE) -> None:
    """Run a backbone on drawn scenes of about `size` pixels: three rooms, four of the world."""
    like = next(backbone.parameters())
    for images in _drawn(size // backbone.patch_size * backbone.patch_size):
        backbone(images.to(device=like.device, dtype=like.dtype))


def make_room(backbone: Backbone, recipe: Recipe) -> None:
    """Give every content order of a light backbone room for what is read; it is zero."""
    for site in backbone.attention_sites():
        if site.scope in recipe.scopes:
            for part in backbone.get_submodule(site.name).modules():
                if isinstance(part, SparseLinearAttention):
                    width = site.num_heads * site.head_dim
                    device = next(backbone.parameters()).device
                    part.directions = torch.zeros(width, recipe.axes, device=device)
                    if recipe.summary and recipe.offsets:
                        shape = (site.num_heads, len(recipe.summary))
                        part.offsets = torch.zeros(shape, device=device)


@cache
def _drawn(size: int) -> list[Float[Tensor, "b v 3 y x"]]:
    rooms = SyntheticScenes("train", count=3, views=8, height=size, width=size, seed=0)
    world = SyntheticWorld("train", count=4, views=12, height=size, width=size, seed=3)
    return [scene.images[None] for scene in (*rooms, *world)]
