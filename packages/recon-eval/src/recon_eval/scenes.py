"""Scenes with truth to be measured on or learned from: drawn, or read from a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from recon_eval.sets.blendedmvs import BlendedMVS
from recon_eval.sets.dtu.dataset import DTU
from recon_eval.sets.dtu.scans import scan_numbers
from recon_eval.sets.scene import Scene
from recon_eval.synthetic import MAX_VIEWS, SyntheticScenes, SyntheticWorld
from recon_eval.synthetic.worlds import MAX_VIEWS as MAX_WORLD_VIEWS


def drawn_scenes(
    split: Literal["train", "validation", "test"], *, count: int, views: int, size: int, seed: int
) -> SyntheticScenes | SyntheticWorld:
    """Drawn scenes of square images; no two splits share one.

    More views than a room has are of the world.
    """
    kind = SyntheticScenes if views <= MAX_VIEWS else SyntheticWorld
    return kind(split, count=count, views=views, height=size, width=size, seed=seed)


def lesson_scenes(
    *, count: int, views: int, size: int, seed: int, wide: bool
) -> "SyntheticScenes | SyntheticWorld | WideScenes":
    """Drawn scenes to learn from: those of `drawn_scenes`, or `wide` ones."""
    if wide:
        return WideScenes(count=count, views=views, size=size, seed=seed)
    return drawn_scenes("train", count=count, views=views, size=size, seed=seed)


class WideScenes:
    """Drawn scenes to learn what holds for photographs too, of the training split.

    Every third is a room of square images; the others are of the world, in shapes of photographs:
    landscape, square, portrait, and landscape with twice as many views. Sides are whole `patch`es.
    """

    def __init__(self, *, count: int, views: int, size: int, seed: int, patch: int = 14) -> None:
        flat, tall = (max(patch, round(side * size / patch) * patch) for side in (0.69, 0.75))
        many = min(2 * views, MAX_WORLD_VIEWS)
        shapes = ((views, flat, size), (views, size, size), (views, size, tall), (many, flat, size))
        self.count = count
        self._rooms = drawn_scenes("train", count=count, views=views, size=size, seed=seed)
        self._worlds = [
            SyntheticWorld("train", count=count, views=seen, height=y, width=x, seed=seed + 1 + i)
            for i, (seen, y, x) in enumerate(shapes)
        ]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Scene:
        worlds = self._worlds[(index - 1 - index // 3) % len(self._worlds)]
        return self._rooms[index] if index % 3 == 0 else worlds[index]


def read_scenes(
    data: str, *, count: int, views: int, size: int, seed: int, scans: str | None = None
) -> Sequence[Scene] | SyntheticScenes | SyntheticWorld:
    """Scenes to be measured on: "synthetic", drawn when their turn comes, or those of a folder of
    BlendedMVS or of DTU, which are read at once: a damaged one is found before the work.

    - `size`: side in pixels of the square that images are covered by and cropped to.
    - `scans`: of a folder of DTU, as numbers or the name of a list.

    Raises ValueError when the folder holds nothing that can be measured.
    """
    if data == "synthetic":
        return drawn_scenes("test", count=count, views=views, size=size, seed=seed)
    root, sides = Path(data), (size, size)
    found = (
        BlendedMVS(root, "held_out", views=views, size=sides, seed=seed)
        if scans is None
        else DTU(root, scan_list(scans)[:count], views=views, size=sides)
    )
    return [found[i] for i in range(min(count, len(found)))]


def scan_list(scans: str) -> tuple[int, ...]:
    """Scans of DTU: a list's name, as dtu64, or numbers, as 1,4,9.

    Raises ValueError for an unknown name, and for a number that stands twice.
    """
    words = scans.split(",")
    if not all(word.strip().isdecimal() for word in words):
        return scan_numbers(scans)
    found = tuple(int(word) for word in words)
    if len(set(found)) < len(found):  # a report holds each scene once
        raise ValueError(f"scans={scans!r}; each must stand once: leave out what stands twice")
    return found
