"""The axes of a content order: found on images once, kept with the student."""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lite3r.student.recipes import Recipe
from recon_backbones import Backbone
from recon_eval.synthetic import SyntheticScenes
from sla_kernels import SparseLinearAttention, calibrated, stored_axes

Calibrate = Callable[[Backbone], object] | Float[Tensor, "b v 3 y x"]

SCENES, VIEWS, SIZE = 2, 8, 224


def find_axes(backbone: Backbone, images: Calibrate) -> None:
    """Store the axes of every content order of a light backbone, in place.

    - `images`: in [0, 1], all in one pass; or a callable that runs the backbone as it likes.
    """
    with calibrated(backbone), torch.no_grad():
        if callable(images):
            images(backbone)
        else:
            like = next(backbone.parameters())
            backbone(images.to(device=like.device, dtype=like.dtype))


def drawn_scenes(backbone: Backbone) -> None:
    """Run a backbone on two drawn scenes, together, at about 224 pixels."""
    patch = backbone.patch_size
    like = next(backbone.parameters())
    backbone(_drawn(SIZE // patch * patch).to(device=like.device, dtype=like.dtype))


def make_room(backbone: Backbone, recipe: Recipe) -> None:
    """Give every content order of a light backbone axes to be read into; they are zero."""
    for site in backbone.attention_sites():
        if site.scope in recipe.scopes:
            for part in backbone.get_submodule(site.name).modules():
                if isinstance(part, SparseLinearAttention):
                    width = site.num_heads * site.head_dim
                    device = next(backbone.parameters()).device
                    part.directions = torch.zeros(width, recipe.axes, device=device)


def to_dtype(backbone: Backbone, dtype: torch.dtype) -> None:
    """Change the number type of a backbone, in place, but not that of its axes.

    Weights that are shared with a teacher are the teacher's still.
    """
    kept = {name: axes.float() for name, axes in stored_axes(backbone).items()}
    own: dict[int, nn.Parameter] = {}
    for part in backbone.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            copied = nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad)
            setattr(part, name, own.setdefault(id(value), copied))
    backbone.to(dtype)
    for name, axes in kept.items():
        backbone.get_submodule(name.removesuffix(".directions")).directions = axes


@cache
def _drawn(size: int) -> Float[Tensor, "b v 3 y x"]:
    scenes = SyntheticScenes("train", count=SCENES, views=VIEWS, height=size, width=size, seed=0)
    return torch.stack([scenes[number].images for number in range(SCENES)])
