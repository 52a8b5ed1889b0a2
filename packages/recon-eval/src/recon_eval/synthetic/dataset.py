"""Synthetic scenes as a data set: seeded, endless in principle, train and test disjoint."""

from collections.abc import Iterator

import numpy as np

from recon_eval.sets.scene import Scene
from recon_eval.synthetic.rooms.render import render
from recon_eval.synthetic.rooms.world import MAX_VIEWS, World, draw_world

SPLITS = {"train": 0, "validation": 1, "test": 2}


class SyntheticScenes:
    """Furnished rooms with textured solids, exact depth (metres) and exact cameras.

    Scene `i` depends on the seed, the split and `i` alone, and its first views do not depend on how
    many views are asked for. Splits draw from different random streams, so no scene is in two.
    """

    def __init__(
        self,
        split: str,
        *,
        count: int,
        views: int,
        height: int = 224,
        width: int = 224,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}: it must be one of {', '.join(SPLITS)}")
        if not 1 <= views <= MAX_VIEWS:
            raise ValueError(f"views is {views}: a synthetic scene has 1 to {MAX_VIEWS}")
        if count < 1 or height < 1 or width < 1:
            raise ValueError(
                f"count, height, width are {count}, {height}, {width}: all must be >= 1"
            )
        self.split, self.count, self.views, self.seed = split, count, views, seed
        self.height, self.width, self.device = height, width, device

    def __len__(self) -> int:
        return self.count

    def world(self, index: int) -> World:
        """Draw the world of scene `index`, without looking at it."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index}: this set has scenes 0 to {self.count - 1}")
        return draw_world(np.random.default_rng([self.seed, SPLITS[self.split], index]))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> Scene:
        return render(
            self.world(index),
            name=f"synthetic-{self.split}-{self.seed}-{index:06d}",
            views=self.views,
            height=self.height,
            width=self.width,
            device=self.device,
        )
