"""Batches of scenes rendered as they are needed: each a function of seed, process and step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from recon_eval.synthetic.dataset import SyntheticScenes, SyntheticWorld
from recon_eval.synthetic.raycast import render_worlds
from recon_eval.synthetic.rooms.render import render_room

ENDLESS = 1 << 40
RANKS, MOST_SCENES = 64, 1024  # processes, and scenes of a batch
SHOWS = 4
"""How often a scene is shown: to draw it takes as long as to learn from it."""
Row = dict[str, Tensor]
"""Views of one scene: images (uint8), depth, valid, world_to_camera, intrinsics."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one process sees in one step: `scenes` scenes of `views` views at one image size.

    Raises ValueError for numbers that no batch has.
    """

    height: int
    width: int
    views: int
    scenes: int

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1: raise it")
        for name, most in (("views", 32), ("scenes", MOST_SCENES)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ValueError(f"{name}={value}; it must be from 1 to {most}: change it")


class FreshScenes:
    """The scenes of one process. Every scene is shown four times, a whole cycle of batches apart.

    - `cycle`: the batches of steps, over and over; `seed` decides the scenes.
    - `world`: the share of scenes from `SyntheticWorld`; the others are `SyntheticScenes`.
    - `rank`: which of at most 64 processes this is; no two show one scene.

    Each time its views come in another order, its colors are others, and half the time it is
    mirrored. What was rendered is kept until it was shown for the last time, and rendered once more
    where it is not at hand, so that an interrupted run goes on bit by bit.
    Raises ValueError for a cycle without batches, a share that is none, and a rank beyond those.
    """

    def __init__(
        self,
        cycle: Sequence[Batch],
        *,
        seed: int = 0,
        world: float = 0.5,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if not cycle:
            raise ValueError("cycle=(); it must hold a batch: add one")
        if not 0 <= world <= 1:
            raise ValueError(f"world={world}; it must be in [0, 1]: change it")
        if not 0 <= rank < RANKS:
            raise ValueError(
                f"rank={rank}; it must be in 0..{RANKS - 1}, as processes share no scene: use fewer"
            )
        self.cycle, self.seed, self.world = tuple(cycle), seed, world
        self.rank, self.device = rank, torch.device(device)
        sizes = {"count": ENDLESS, "views": 1, "seed": seed}
        self._rooms = SyntheticScenes("train", **sizes)  # type: ignore[arg-type]
        self._world = SyntheticWorld("train", **sizes)  # type: ignore[arg-type]
        self._kept: dict[int, Row] = {}

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw the scenes of a step, shuffle their views, mirror some, and disturb the colors."""
        batch = self.cycle[step % len(self.cycle)]
        numbers = [self._number(step, row) for row in range(batch.scenes)]
        missing = [number for number in numbers if number not in self._kept]
        self._kept |= dict(zip(missing, self._render(missing, batch), strict=True))
        rows = []
        for row, number in enumerate(numbers):
            rng = np.random.default_rng([self.seed, step, self.rank, row])
            scene = self._kept[number]
            order = torch.from_numpy(rng.permutation(batch.views)).to(self.device)
            shown = {name: tensor[order] for name, tensor in scene.items()}
            shown["images"] = _recolor(shown["images"], rng)
            rows.append(_mirrored(shown) if rng.random() < 0.5 else shown)
            if self._shows_left(step, row) == 0:
                del self._kept[number]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _shows_left(self, step: int, row: int) -> int:
        """How often the scene of a row is shown after this step; not all rows change at once."""
        generation, place = divmod(step, len(self.cycle))
        return SHOWS - 1 - (generation + place + row) % SHOWS

    def _number(self, step: int, row: int) -> int:
        """The scene that a row of a step shows, by the step that shows it for the last time."""
        shown_last = step + self._shows_left(step, row) * len(self.cycle)
        return (shown_last * RANKS + self.rank) * MOST_SCENES + row

    def _render(self, numbers: Sequence[int], batch: Batch) -> list[Row]:
        rngs = {n: np.random.default_rng([self.seed, 7, n]) for n in numbers}
        rich = [n for n in numbers if rngs[n].random() < self.world]
        rows = dict(zip(rich, self._worlds(rich, rngs, batch), strict=True))
        rows |= {n: self._room(n, rngs[n], batch) for n in numbers if n not in rows}
        return [rows[n] for n in numbers]

    def _worlds(
        self, numbers: Sequence[int], rngs: dict[int, np.random.Generator], batch: Batch
    ) -> list[Row]:
        """Rich worlds together, each seen by photographers who follow one another."""
        if not numbers:
            return []
        chosen = []
        for number in numbers:
            stride = rngs[number].integers(1, 1 + min(4, 63 // batch.views))
            start = rngs[number].integers(0, 64 - stride * (batch.views - 1))
            chosen.append((start + stride * np.arange(batch.views)).tolist())
        seen = render_worlds(
            [self._world.world(number) for number in numbers],
            chosen,
            height=batch.height,
            width=batch.width,
            device=self.device,
        )
        return [
            _row(
                seen.images[i],
                seen.depth[i],
                seen.valid[i],
                seen.world_to_camera[i],
                seen.intrinsics[i],
            )
            for i in range(len(numbers))
        ]

    def _room(self, number: int, rng: np.random.Generator, batch: Batch) -> Row:
        """A room; pictures that are not square see as much of it along either side."""
        world = self._rooms.world(number)
        zoom = float((batch.width / batch.height) ** rng.uniform(0, 1))
        count = len(world.focal)
        cameras = rng.permutation(np.arange(batch.views) % count).tolist()
        scene = render_room(
            world.with_cameras(cameras, zoom=zoom),
            name="room",
            views=batch.views,
            height=batch.height,
            width=batch.width,
            device=str(self.device),
        )
        parts = (scene.images, scene.depth, scene.valid, scene.world_to_camera, scene.intrinsics)
        return _row(*(part.to(self.device) for part in parts if part is not None))


def _row(
    images: Float[Tensor, "v 3 y x"],
    depth: Float[Tensor, "v y x"],
    valid: Bool[Tensor, "v y x"],
    world_to_camera: Float[Tensor, "v 3 4"],
    intrinsics: Float[Tensor, "v 3 3"],
) -> Row:
    return {
        "images": (images * 255).round().to(torch.uint8),
        "depth": depth,
        "valid": valid,
        "world_to_camera": world_to_camera,
        "intrinsics": intrinsics,
    }


def _mirrored(row: Row) -> Row:
    """The same scene in a mirror: images from right to left, x turned in world and cameras."""
    across = row["depth"].new_tensor([-1.0, 1.0, 1.0])
    cameras, lenses = row["world_to_camera"], row["intrinsics"].clone()
    lenses[:, 0, 2] = row["images"].shape[-1] - lenses[:, 0, 2]
    turned = cameras[..., :3] * across[:, None] * across
    flipped = {name: row[name].flip(-1) for name in ("images", "depth", "valid")}
    moved = torch.cat([turned, cameras[..., 3:] * across[:, None]], dim=-1)
    return flipped | {"world_to_camera": moved, "intrinsics": lenses}


def _recolor(images: UInt8[Tensor, "v 3 y x"], rng: np.random.Generator) -> Tensor:
    """Permute the channels and change gain and gamma, the same for all views of a scene."""
    channels = torch.from_numpy(rng.permutation(3)).to(images.device)
    gain, gamma = rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.25)
    table = 255 * (np.arange(256) / 255) ** gamma * gain
    lookup = torch.from_numpy(table.round().clip(0, 255).astype(np.uint8)).to(images.device)
    return lookup[images[:, channels].int()]
