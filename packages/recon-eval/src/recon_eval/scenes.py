"""Scenes with truth to be measured on: drawn, or read from a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from recon_eval.sets.blendedmvs import BlendedMVS
from recon_eval.sets.dtu.dataset import DTU
from recon_eval.sets.dtu.scans import scan_numbers
from recon_eval.sets.scene import Scene
from recon_eval.synthetic import MAX_VIEWS, SyntheticScenes, SyntheticWorld


def drawn_scenes(
    split: Literal["train", "validation", "test"], *, count: int, views: int, size: int, seed: int
) -> SyntheticScenes | SyntheticWorld:
    """Drawn scenes of square images; no two splits share one.

    More views than a room has are of the world.
    """
    kind = SyntheticScenes if views <= MAX_VIEWS else SyntheticWorld
    return kind(split, count=count, views=views, height=size, width=size, seed=seed)


def read_scenes(
    data: str, *, count: int, views: int, size: int, seed: int, scans: str | None = None
) -> Sequence[Scene]:
    """Scenes to be measured on: "synthetic", or a folder of BlendedMVS or of DTU.

    - `size`: side in pixels of the square that images are covered by and cropped to.
    - `scans`: of a folder of DTU, as numbers or the name of a list.

    Raises ValueError when the folder holds nothing that can be measured.
    """
    if data == "synthetic":
        drawn = drawn_scenes("test", count=count, views=views, size=size, seed=seed)
        return [drawn[i] for i in range(count)]
    root, sides = Path(data), (size, size)
    found = (
        BlendedMVS(root, "held_out", views=views, size=sides, seed=seed)
        if scans is None
        else DTU(root, scan_list(scans)[:count], views=views, size=sides)
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
