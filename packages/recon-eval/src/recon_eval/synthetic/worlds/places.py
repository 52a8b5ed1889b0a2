"""Five kinds of place, each with its ground, its things, and where people stand to look at it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from recon_eval.synthetic.worlds import things
from recon_eval.synthetic.worlds import world as w
from recon_eval.synthetic.worlds.parts import Parts, Vector, tensor, turn
from recon_eval.synthetic.worlds.paths import Stand

TAU = 2 * np.pi


@dataclass(frozen=True, kw_only=True)
class Place:
    """A drawn place: what carries it, where to stand, and whether it has a sky."""

    ground: w.Ground
    stand: Stand
    outdoors: bool


def room(parts: Parts) -> Place:
    """A furnished room; people stand along its walls."""
    rng = parts.rng
    half = np.array([rng.uniform(1.6, 5.0), rng.uniform(1.15, 2.0), rng.uniform(1.6, 5.0)])
    walls = [parts.material() for _ in range(6)]
    furniture = (things.table, things.shelf, things.lamp, things.solid, things.solid, things.solid)
    for _ in range(rng.integers(6, 16)):
        foot = half * [rng.uniform(-0.85, 0.85), 0, rng.uniform(-0.85, 0.85)]
        furniture[rng.integers(len(furniture))](parts, foot)
    for _ in range(rng.integers(0, 5)):
        _picture(parts, half)
    inside = 0.93 * half

    def confine(points: Vector) -> Vector:
        low, high = [-inside[0], -1.9 * half[1], -inside[2]], [inside[0], -0.2, inside[2]]
        clipped: Vector = points.clip(low, high)
        return clipped

    reach = float(half[[0, 2]].min())
    stand = Stand(
        target=half * [rng.uniform(-0.3, 0.3), -rng.uniform(0.3, 1.0), rng.uniform(-0.3, 0.3)],
        near=0.6 * reach,
        far=1.3 * reach,
        middle=rng.uniform(0, TAU),
        spread=np.deg2rad(rng.uniform(30, 140)),
        low=0.5,
        high=min(2.0, 1.8 * half[1]),
        ground=_flat,
        confine=confine,
    )
    return Place(ground=_ground(w.ROOM, half=half, materials=walls), stand=stand, outdoors=False)


def _picture(parts: Parts, half: Vector) -> None:
    """A thin box on one of the four walls."""
    rng = parts.rng
    side = int(rng.integers(0, 4))
    along = rng.uniform(-0.8, 0.8) * half[0 if side % 2 else 2]
    at = turn(side * TAU / 4) @ np.array([half[2 if side % 2 else 0] - 0.02, 0, along])
    at[1] = -rng.uniform(0.6, 1.6) * half[1]
    size = np.array([0.02, rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.7)])
    parts.add(w.BOX, at, size, parts.material(gloss=0.3), rotation=turn(side * TAU / 4))


def facade(parts: Parts) -> Place:
    """A row of houses seen from the street, with lamps, trees and fences before it."""
    rng = parts.rng
    street = parts.material(w.SPECKLE, w.PLAIN, w.BRICKS, gloss=0.0)
    at = -rng.uniform(4, 9)
    for _ in range(rng.integers(1, 4)):
        half = np.array([rng.uniform(2.5, 6), rng.uniform(1.5, 4.5), rng.uniform(2, 4)])
        set_back = rng.uniform(0, 1.0)
        foot = np.array([at + half[0], 0, half[2] + set_back])
        roof = bool(rng.random() < 0.6)
        things.house(parts, foot, rng.normal(0, 0.05), half, roof=roof, details=True)
        at += 2 * half[0] + rng.uniform(0, 1)
    for _ in range(rng.integers(2, 7)):
        foot = np.array([rng.uniform(-7, 7), 0, rng.uniform(-3.5, -0.6)])
        (things.lamp, things.tree, things.fence, things.solid)[rng.integers(4)](parts, foot)
    stand = Stand(
        target=np.array([rng.uniform(-2, 2), -rng.uniform(1.0, 3.0), 0.0]),
        near=4.0,
        far=11.0,
        middle=0.0,
        spread=np.deg2rad(rng.uniform(40, 120)),
        low=1.0,
        high=rng.choice([2.0, 6.0]),
        ground=_flat,
        confine=_above,
    )
    return Place(ground=_ground(w.PLANE, materials=[street] * 6), stand=stand, outdoors=True)


def terrain(parts: Parts) -> Place:
    """Hills with rocks, trees and the odd house."""
    rng = parts.rng
    count = 7
    wave = np.exp(rng.uniform(np.log(0.15), np.log(1.6), count))
    way = rng.uniform(0, TAU, count)
    amplitude = rng.uniform(0.4, 1.0, count) * rng.uniform(0.1, 0.25) / wave
    waves = np.stack(
        [wave * np.cos(way), wave * np.sin(way), rng.uniform(0, TAU, count), amplitude], axis=1
    )
    grass = parts.material(w.SPECKLE, w.PATCHES, gloss=0.0)

    def ground(points: Vector) -> Vector:
        height: Vector = -(
            np.sin(points[:, [0, 2]] @ waves[:, :2].T + waves[:, 2]) * waves[:, 3]
        ).sum(1)
        return height

    for _ in range(rng.integers(10, 30)):
        foot = np.array([rng.uniform(-9, 9), 0, rng.uniform(-9, 9)])
        foot[1] = ground(foot[None])[0] + 0.05
        (things.rock, things.tree, things.tree, things.solid)[rng.integers(4)](parts, foot)
    target = np.array([rng.uniform(-2, 2), 0.0, rng.uniform(-2, 2)])
    target[1] = ground(target[None])[0]
    _gather(parts, target)
    stand = Stand(
        target=target - [0, rng.uniform(0.3, 1.5), 0],
        near=4.0,
        far=10.0,
        middle=rng.uniform(0, TAU),
        spread=np.deg2rad(rng.uniform(30, 150)),
        low=1.2,
        high=rng.choice([2.0, 7.0]),
        ground=ground,
        confine=lambda points: points,
    )
    made = _ground(w.TERRAIN, materials=[grass] * 6, waves=waves)
    return Place(ground=made, stand=stand, outdoors=True)


def single(parts: Parts) -> Place:
    """One thing of a few solids on an empty floor, photographed from all around."""
    rng = parts.rng
    floor = parts.material(gloss=0.0)
    if rng.random() < 0.5:  # on a turntable
        high = rng.uniform(0.1, 0.8)
        size = (rng.uniform(0.4, 0.7), high / 2, rng.uniform(0.4, 0.7))
        kind = int(rng.choice([w.BOX, w.CONE]))
        parts.add(kind, (0, -high / 2, 0), size, parts.material())
    else:
        high = 0.0
    for _ in range(rng.integers(1, 7)):
        foot = np.array([rng.normal(0, 0.2), -high - rng.uniform(0, 0.5), rng.normal(0, 0.2)])
        things.solid(parts, foot, rng.uniform(0.12, 0.35))
    stand = Stand(
        target=np.array([0, -high - 0.25, 0]),
        near=0.9,
        far=2.2,
        middle=rng.uniform(0, TAU),
        spread=np.deg2rad(rng.choice([60, 120, 360])),
        low=high + 0.1,
        high=high + 1.3,
        ground=_flat,
        confine=_above,
    )
    return Place(
        ground=_ground(w.PLANE, materials=[floor] * 6),
        stand=stand,
        outdoors=bool(rng.random() < 0.7),
    )


def yard(parts: Parts) -> Place:
    """Open ground under the sky, strewn with things of every kind."""
    rng = parts.rng
    floor = parts.material(gloss=0.0)
    kinds = (things.fence, things.tree, things.rock, things.table, things.solid, things.solid)
    for _ in range(rng.integers(8, 22)):
        foot = np.array([rng.uniform(-6, 6), 0, rng.uniform(-6, 6)])
        kinds[rng.integers(len(kinds))](parts, foot)
    if rng.random() < 0.5:
        half = np.array([rng.uniform(1, 3), rng.uniform(1, 2), rng.uniform(1, 3)])
        foot = np.array([rng.uniform(-4, 4), 0, rng.uniform(4, 8)])
        things.house(parts, foot, rng.uniform(0, TAU), half, roof=True, details=False)
    target = np.array([rng.uniform(-1, 1), 0.0, rng.uniform(-1, 1)])
    _gather(parts, target)
    stand = Stand(
        target=target - [0, rng.uniform(0.2, 1.0), 0],
        near=2.5,
        far=7.0,
        middle=rng.uniform(0, TAU),
        spread=np.deg2rad(rng.uniform(40, 180)),
        low=0.8,
        high=rng.choice([1.9, 4.0]),
        ground=_flat,
        confine=_above,
    )
    return Place(ground=_ground(w.PLANE, materials=[floor] * 6), stand=stand, outdoors=True)


PLACES: dict[str, Callable[[Parts], Place]] = {
    "room": room,
    "facade": facade,
    "terrain": terrain,
    "single": single,
    "yard": yard,
}


def _gather(parts: Parts, target: Vector) -> None:
    """A few things where people look."""
    for _ in range(parts.rng.integers(2, 6)):
        offset = parts.rng.normal(0, 0.9, 3) * [1, 0, 1]
        things.solid(parts, target + offset, parts.rng.uniform(0.2, 0.7))


def _flat(points: Vector) -> Vector:
    return np.zeros(len(points))


def _above(points: Vector) -> Vector:
    low: Vector = points.clip(None, [np.inf, -0.1, np.inf])
    return low


def _ground(
    kind: int,
    *,
    materials: list[int],
    half: Vector | None = None,
    waves: Vector | None = None,
) -> w.Ground:
    return w.Ground(
        kind=torch.tensor(kind, device="cpu"),
        half=tensor(np.ones(3) if half is None else half),
        waves=tensor(np.zeros((7, 4)) if waves is None else waves),
        material=torch.tensor(materials, device="cpu"),
    )
