"""Synthetic scenes as data sets: seeded, endless in principle, train and test disjoint."""

from collections.abc import Iterator, Sequence

import numpy as np

from recon_eval.sets.scene import Scene
from recon_eval.synthetic.raycast import render_worlds
from recon_eval.synthetic.rooms import world as rooms
from recon_eval.synthetic.rooms.render import render_room
from recon_eval.synthetic.worlds import MAX_VIEWS, PLACES, World, draw_world

SPLITS = {"train": 0, "validation": 1, "test": 2}
MAX_SIDE = 4096  # pixels
WORLD = 15
"""Sets the random streams of `SyntheticWorld` apart from those of `SyntheticScenes`."""


class SyntheticScenes:
    """Furnished rooms with textured solids, exact depth (meters) and exact cameras.

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
        _check(split, count, views, height, width, seed, most=rooms.MAX_VIEWS)
        self.split, self.count, self.views, self.seed = split, count, views, seed
        self.height, self.width, self.device = height, width, device

    def __len__(self) -> int:
        return self.count

    def world(self, index: int) -> rooms.World:
        """Draw the world of scene `index`, without looking at it."""
        _check_index(index, self.count)
        return rooms.draw_world(np.random.default_rng([self.seed, SPLITS[self.split], index]))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> Scene:
        return render_room(
            self.world(index),
            name=f"synthetic-{self.split}-{self.seed}-{index:06d}",
            views=self.views,
            height=self.height,
            width=self.width,
            device=self.device,
        )


class SyntheticWorld:
    """Rooms, facades, hills, single things and yards, photographed as people do.

    Up to 64 views a scene along arcs, walks, pans, stereo pairs and jumps, at any size; fields of
    view of the longer side from 25 to 100 degrees, now and then cropped off the center. Depth is
    exact; sky is not valid. Scene `i` depends on the seed, the split and `i` alone, and its first
    views do not depend on how many are asked for. `spoiled=False` leaves out blur, noise, exposure,
    vignette and JPEG. Scenes are rendered on `device` and handed out on the CPU.

    Raises ValueError if the split or a place is unknown, or a number is out of range.
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
        places: Sequence[str] = tuple(PLACES),
        spoiled: bool = True,
        device: str = "cpu",
    ) -> None:
        _check(split, count, views, height, width, seed, most=MAX_VIEWS)
        unknown = [place for place in places if place not in PLACES]
        if unknown or not places:
            raise ValueError(f"places={tuple(places)}; known places: {', '.join(PLACES)}")
        self.split, self.count, self.views, self.seed = split, count, views, seed
        self.height, self.width, self.device = height, width, device
        self.places, self.spoiled = tuple(places), spoiled

    def __len__(self) -> int:
        return self.count

    def world(self, index: int) -> World:
        """Draw the world of scene `index`, without looking at it."""
        _check_index(index, self.count)
        rng = np.random.default_rng([WORLD, self.seed, SPLITS[self.split], index])
        return draw_world(rng, places=self.places, spoiled=self.spoiled)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> Scene:
        return self.scenes([index])[0]

    def scenes(self, indices: Sequence[int]) -> list[Scene]:
        """Render several scenes in one go, which a GPU likes."""
        seen = render_worlds(
            [self.world(index) for index in indices],
            [list(range(self.views))] * len(indices),
            height=self.height,
            width=self.width,
            device=self.device,
        )
        return [
            Scene(
                name=f"world-{self.split}-{self.seed}-{index:06d}",
                images=seen.images[row].cpu(),
                depth=seen.depth[row].cpu(),
                valid=seen.valid[row].cpu(),
                world_to_camera=seen.world_to_camera[row].cpu(),
                intrinsics=seen.intrinsics[row].cpu(),
            )
            for row, index in enumerate(indices)
        ]


def _check(
    split: str, count: int, views: int, height: int, width: int, seed: int, *, most: int
) -> None:
    if split not in SPLITS:
        raise ValueError(f"split={split!r}; known splits: {', '.join(SPLITS)}")
    if not 1 <= views <= most:
        raise ValueError(f"views={views}; a scene of this set has 1 to {most}: ask for fewer")
    for name, value in (("count", count), ("height", height), ("width", width)):
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1: leave it out if unsure")
    if max(height, width) > MAX_SIDE:
        raise ValueError(
            f"height={height}, width={width}; scenes are drawn at up to {MAX_SIDE} pixels, as "
            "they stay in memory: 224 is usual"
        )
    if seed < 0:
        raise ValueError(f"seed={seed}; it must be at least 0: leave it out if unsure")


def _check_index(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise IndexError(f"scene {index}; this set has scenes 0 to {count - 1}")
