"""Draw a random world: a furnished room, its lights, and cameras that look at it.

Frame: meters, x right, y down, z forward (OpenCV), so that "up" is -y. The room is an axis-aligned
box round the origin with its floor at y = +floor.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_VIEWS = 16
"""Cameras drawn for every world, so that the first views do not depend on how many are used."""

BOX, ELLIPSOID, CYLINDER = 0, 1, 2
NUM_WALLS = 6


@dataclass(frozen=True, kw_only=True)
class Solids:
    """Convex solids, each a unit shape moved by `center + rotation @ (size * p)`.

    The unit shapes are the cube [-1, 1]^3, the unit ball, and the cylinder of radius 1 along y
    between y = -1 and 1. The first solid is the room, seen from inside.
    """

    kind: Int[Tensor, " o"]
    center: Float[Tensor, "o 3"]
    size: Float[Tensor, "o 3"]
    rotation: Float[Tensor, "o 3 3"]


@dataclass(frozen=True, kw_only=True)
class Materials:
    """Solid textures: two colors mixed by a pattern, with noise on top.

    The first six belong to the walls of the room, the others to the other solids in order.
    The noise volume is periodic: its last planes repeat its first.
    """

    colors: Float[Tensor, "o 2 3"]
    pattern: Int[Tensor, " o"]
    frequency: Float[Tensor, " o"]
    offset: Float[Tensor, "o 3"]
    noise: Float[Tensor, "3 g g g"]


@dataclass(frozen=True, kw_only=True)
class World:
    """All that a picture of the scene depends on."""

    solids: Solids
    materials: Materials
    light: Float[Tensor, " 3"]
    light_power: float
    ambient: float
    gain: Float[Tensor, " v"]
    camera_to_world: Float[Tensor, "v 3 4"]
    focal: Float[Tensor, " v"]  # in units of half the image height: 1 / tan(fov_y / 2)

    def with_cameras(self, cameras: list[int], *, zoom: float = 1.0) -> "World":
        """The same world seen by the named cameras alone, at focal lengths `zoom` times as long."""
        return replace(
            self,
            gain=self.gain[cameras],
            camera_to_world=self.camera_to_world[cameras],
            focal=self.focal[cameras] * zoom,
        )


def draw_world(rng: np.random.Generator) -> World:
    """Draw one world. The same generator state gives the same world on every machine."""
    half = np.array([rng.uniform(2.0, 4.5), rng.uniform(1.2, 1.8), rng.uniform(2.0, 4.5)])
    camera_to_world, focal = _draw_cameras(rng, half)
    solids = _draw_solids(rng, half, camera_to_world[:, :, 3])
    light = half * np.array(
        [rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.5), rng.uniform(-0.8, 0.8)]
    )
    return World(
        solids=solids,
        materials=_draw_materials(rng, NUM_WALLS + len(solids.kind) - 1),
        light=_tensor(light),
        light_power=float(rng.uniform(0.45, 0.85)),
        ambient=float(rng.uniform(0.35, 0.5)),
        gain=_tensor(rng.uniform(0.9, 1.1, MAX_VIEWS)),
        camera_to_world=_tensor(camera_to_world),
        focal=_tensor(focal),
    )


def _draw_cameras(rng: np.random.Generator, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cameras on an arc round a target, as somebody walking about an object would take them."""
    target = half * np.array(
        [rng.uniform(-0.25, 0.25), rng.uniform(0.0, 0.5), rng.uniform(-0.25, 0.25)]
    )
    spread = np.deg2rad(rng.uniform(20, 90))
    middle = rng.uniform(0, 2 * np.pi)
    radius = rng.uniform(0.55, 0.9)
    shared = 1 / np.tan(np.deg2rad(rng.uniform(50, 75)) / 2)
    one_lens = rng.random() < 0.8
    poses, focal = [], []
    for _ in range(MAX_VIEWS):
        azimuth = middle + rng.uniform(-0.5, 0.5) * spread
        reach = radius * rng.uniform(0.85, 1.1)
        center = half * np.array(
            [reach * np.sin(azimuth), rng.uniform(-0.6, 0.3), -reach * np.cos(azimuth)]
        )
        center = np.clip(center, -0.93 * half, 0.93 * half)
        aim = target + rng.normal(0, 0.2, 3)
        poses.append(_look_at(center, aim, roll=rng.normal(0, np.deg2rad(4))))
        own = 1 / np.tan(np.deg2rad(rng.uniform(50, 75)) / 2)
        focal.append(shared if one_lens else own)
    return np.stack(poses), np.array(focal)


def _look_at(center: np.ndarray, aim: np.ndarray, *, roll: float) -> np.ndarray:
    """Camera-to-world `3 4` of a camera at `center` that looks at `aim`."""
    z = (aim - center) / np.linalg.norm(aim - center)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    axes = np.stack([c * x + s * y, c * y - s * x, z], axis=1)
    return np.concatenate([axes, center[:, None]], axis=1)


def _draw_solids(rng: np.random.Generator, half: np.ndarray, cameras: np.ndarray) -> Solids:
    rows: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = [
        (BOX, np.zeros(3), half, np.eye(3))
    ]
    for _ in range(rng.integers(10, 22)):
        kind = int(rng.integers(0, 3))
        size = np.exp(rng.uniform(np.log(0.15), np.log(0.6), 3)) * half.mean() / 2.5
        if kind == CYLINDER:
            size[2] = size[0]
        place = half * np.array([rng.uniform(-0.8, 0.8), 0, rng.uniform(-0.8, 0.8)])
        on_floor = half[1] - size[1]
        place[1] = on_floor if rng.random() < 0.75 else rng.uniform(-0.7, 0.8) * half[1]
        rotation = _turn(
            rng.uniform(0, 2 * np.pi), rng.normal(0, 0.15) if rng.random() < 0.3 else 0.0
        )
        reach = size.max() * (1.75 if kind == BOX else 1.45) + 0.2
        if np.linalg.norm(cameras - place, axis=1).min() > reach:  # no camera inside or against it
            rows.append((kind, place, size, rotation))
    kinds, centers, sizes, rotations = zip(*rows, strict=True)
    return Solids(
        kind=torch.tensor(kinds, device="cpu"),
        center=_tensor(np.stack(centers)),
        size=_tensor(np.stack(sizes)),
        rotation=_tensor(np.stack(rotations)),
    )


def _turn(yaw: float, tilt: float) -> np.ndarray:
    """Rotation about the vertical, then about x."""
    c, s, ct, st = np.cos(yaw), np.sin(yaw), np.cos(tilt), np.sin(tilt)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return about_y @ np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])


def _draw_materials(rng: np.random.Generator, count: int) -> Materials:
    base = rng.uniform(0.1, 0.85, (count, 3))
    other = np.clip(
        base + rng.choice([-1, 1], (count, 1)) * rng.uniform(0.1, 0.6, (count, 3)), 0.03, 1
    )
    return Materials(
        colors=_tensor(np.stack([base, other], axis=1)),
        pattern=torch.from_numpy(rng.integers(0, 5, count)),
        frequency=_tensor(np.exp(rng.uniform(np.log(0.8), np.log(2.5), count))),
        offset=_tensor(rng.uniform(0, 8, (count, 3))),
        noise=_tensor(
            np.pad(rng.uniform(-1, 1, (3, 24, 24, 24)), [(0, 0), *[(0, 1)] * 3], mode="wrap")
        ),
    )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
