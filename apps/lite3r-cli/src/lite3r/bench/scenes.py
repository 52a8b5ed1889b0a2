"""Scenes with truth to be measured on: drawn, or read from a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recon_backbones import Backbone
from recon_eval.data import DTU, BlendedMVS, Scene, SyntheticScenes, SyntheticWorld
from recon_eval.sets.dtu.scans import scan_numbers
from recon_eval.synthetic import MAX_VIEWS

PATCH = 14  # pixels: smaller images hold no token


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What the network sees of a scene.

    - `views`: views of one scene, at least 2.
    - `size`: longer side of an image in pixels; aspect ratios are kept.
    """

    views: int = 8
    size: int = 224

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ValueError(f"views={self.views}; a scene needs at least 2: 8 is usual")
        if self.size < PATCH:
            raise ValueError(f"size={self.size}; it must be at least {PATCH} pixels, one patch")


def synthetic(
    split: Literal["train", "test"], *, count: int, images: ImageSettings, seed: int
) -> SyntheticScenes | SyntheticWorld:
    """Drawn scenes; train and test never share one. More views than a room has are of the world."""
    kind = SyntheticScenes if images.views <= MAX_VIEWS else SyntheticWorld
    return kind(
        split, count=count, views=images.views, height=images.size, width=images.size, seed=seed
    )


def read_scenes(
    data: str,
    backbone: Backbone,
    *,
    count: int,
    images: ImageSettings,
    seed: int,
    scans: str | None = None,
) -> list[Scene]:
    """Scenes to be measured on: "synthetic", or a folder of BlendedMVS or of DTU.

    - `scans`: of a folder of DTU, as numbers or the name of a list.

    Raises ValueError when the folder holds nothing that can be measured.
    """
    if data == "synthetic":
        drawn = synthetic("test", count=count, images=images, seed=seed)
        return [drawn[i] for i in range(count)]
    side = images.size // backbone.patch_size * backbone.patch_size
    root, size = Path(data), (side, side)
    found = (
        BlendedMVS(root, "held_out", views=images.views, size=size, seed=seed)
        if scans is None
        else DTU(root, scan_list(scans)[:count], views=images.views, size=size)
    )
    return [found[i] for i in range(min(count, len(found)))]


def scan_list(scans: str) -> tuple[int, ...]:
    """Scans of DTU: a list's name, as dtu64, or numbers, as 1,4,9.

    Raises ValueError for an unknown name.
    """
    words = scans.split(",")
    if all(word.strip().isdigit() for word in words):
        return tuple(int(word) for word in words)
    return scan_numbers(scans)
