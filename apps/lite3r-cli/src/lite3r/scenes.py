"""Where scenes come from: drawn, or read from a folder; to learn from, or to be measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone
from recon_backbones.photos import find_photos, load_batch
from recon_eval.data import BlendedMVS, Scene, SyntheticScenes

VISITS = 2  # of a scene in one training, in other orders of views; drawing it costs as much
MOST_SCENES = 300  # to learn from; they stay in memory


@runtime_checkable
class Items(Protocol):
    """Scenes by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What the network sees of a scene."""

    views: int = 8
    """Views of one scene."""
    size: int = 224
    """Longer side of an image in pixels; aspect ratios are kept."""

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ValueError(f"views is {self.views}; distillation needs at least 2 of a scene")
        if self.size < 14:
            raise ValueError(f"size is {self.size}; it must be at least 14 pixels, one patch")


class SceneBatches:
    """Images `1 v 3 y x` by number, for `distill`: scenes in turn, their views shuffled.

    Each scene is made when it is first asked for, and kept.
    """

    def __init__(self, scenes: Items) -> None:
        self._scenes = scenes
        self._images: dict[int, Tensor] = {}

    def at(self, index: int) -> Float[Tensor, "1 v 3 y x"]:
        """Batch `index`; the order of views comes from the global generator."""
        number = index % len(self._scenes)
        if number not in self._images:
            self._images[number] = self._scenes[number].images
        images = self._images[number]
        return images[torch.randperm(len(images))][None]


class PhotoBatches:
    """Images `1 v 3 y x` by number, for `distill`: views drawn from the photos of one scene."""

    def __init__(self, images: Float[Tensor, "n 3 y x"], views: int) -> None:
        self._images = images
        self._views = min(views, len(images))

    def at(self, index: int) -> Float[Tensor, "1 v 3 y x"]:
        """Batch `index`; the views come from the global generator."""
        return self._images[torch.randperm(len(self._images))[: self._views]][None]


def scenes_to_learn_from(batches: int) -> int:
    """How many drawn scenes a training on so many batches sees, at least one."""
    return min(MOST_SCENES, -(-batches // VISITS))


def synthetic(
    split: Literal["train", "test"], *, count: int, images: ImageSettings, seed: int
) -> SyntheticScenes:
    """Drawn scenes; train and test never share one."""
    return SyntheticScenes(
        split, count=count, views=images.views, height=images.size, width=images.size, seed=seed
    )


def read_scenes(
    data: str, backbone: Backbone, *, count: int, images: ImageSettings, seed: int
) -> list[Scene]:
    """Scenes to be measured on: "synthetic", or a folder of scenes in the BlendedMVS layout.

    Raises ValueError when the folder holds nothing that can be measured.
    """
    if data == "synthetic":
        drawn = synthetic("test", count=count, images=images, seed=seed)
        return [drawn[i] for i in range(count)]
    side = images.size // backbone.patch_size * backbone.patch_size
    found = BlendedMVS(Path(data), "held_out", views=images.views, size=(side, side), seed=seed)
    return [found[i] for i in range(min(count, len(found)))]


def photos_scene(data: str, backbone: Backbone, images: ImageSettings) -> Float[Tensor, "n 3 y x"]:
    """All photos of a folder at the size of the network."""
    return load_batch(find_photos([data]), backbone, images.size).images[0]


def first_views(images: Float[Tensor, "n 3 y x"], views: int, name: str) -> Sequence[Scene]:
    """The first views as one scene without truth."""
    return [Scene(name=name, images=images[:views])]
