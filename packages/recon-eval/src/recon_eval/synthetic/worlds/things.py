"""Things made of several solids: furniture, plants, fences, houses. Each stands on its ground."""

from collections.abc import Callable

import numpy as np

from recon_eval.synthetic.worlds import world as w
from recon_eval.synthetic.worlds.parts import Parts, Vector, turn

TAU = 2 * np.pi


def _place(parts: Parts, foot: Vector, yaw: float) -> Callable[..., None]:
    """A way to add solids in the frame of a thing: its foot at the origin, turned by `yaw`."""
    about = turn(yaw)

    def add(kind: int, at: object, size: object, material: int, **more: object) -> None:
        own = more.pop("rotation", np.eye(3))
        assert isinstance(own, np.ndarray)
        center = foot + about @ np.asarray(at, dtype=float)
        parts.add(kind, center, size, material, rotation=about @ own, **more)

    return add


def table(parts: Parts, foot: Vector) -> None:
    """A top on four thin legs, and something on it."""
    rng = parts.rng
    add = _place(parts, foot, rng.uniform(0, TAU))
    wide, deep, high = rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9)
    wood = parts.material(w.PLANKS, w.PLAIN, w.WAVES)
    add(w.BOX, (0, -high, 0), (wide, 0.03, deep), wood)
    for x in (-1, 1):
        for z in (-1, 1):
            leg = (0.9 * x * wide, -high / 2, 0.9 * z * deep)
            add(w.CONE, leg, (0.03, high / 2, 0.03), wood, shape=(1.0,))
    on_top = np.array([rng.uniform(-0.5, 0.5) * wide, -high - 0.03, rng.uniform(-0.5, 0.5) * deep])
    solid(parts, foot + on_top, rng.uniform(0.1, 0.2))


def shelf(parts: Parts, foot: Vector) -> None:
    """Boards with rows of books: repetition in two directions."""
    rng = parts.rng
    add = _place(parts, foot, rng.integers(0, 4) * TAU / 4)
    wide, high, deep = rng.uniform(0.4, 0.9), rng.uniform(0.8, 2.0), 0.15
    wood = parts.material(w.PLANKS, w.PLAIN)
    books = [parts.material(gloss=0.0) for _ in range(4)]
    add(w.BOX, (0, -high / 2, deep), (wide, high / 2, 0.01), wood)
    levels = int(rng.integers(2, 5))
    for level in range(levels + 1):
        y = -level * high / levels
        add(w.BOX, (0, y - 0.01, 0), (wide, 0.012, deep), wood)
        if level == levels:
            continue
        for x in np.arange(-wide + 0.06, wide - 0.05, 0.14):
            tall = rng.uniform(0.3, 0.45) * high / levels
            book = int(rng.choice(books))
            add(w.BOX, (x, y - 0.02 - tall, 0), (0.05, tall, 0.11), book)


def lamp(parts: Parts, foot: Vector) -> None:
    """A thin post with a head, a street lamp or one for a room."""
    rng = parts.rng
    add = _place(parts, foot, rng.uniform(0, TAU))
    high = rng.uniform(1.2, 2.2)
    metal = parts.material(w.PLAIN, gloss=0.5)
    add(w.CONE, (0, -high / 2, 0), (0.025, high / 2, 0.025), metal)
    add(w.CONE, (0, -0.02, 0), (0.15, 0.02, 0.15), metal)
    head = parts.material(w.PLAIN, w.STRIPES)
    add(w.CONE, (0, -high, 0), (0.2, 0.15, 0.2), head, shape=(rng.uniform(0.3, 0.9),))


def tree(parts: Parts, foot: Vector) -> None:
    """A trunk under a melted crown, or a conifer of cones."""
    rng = parts.rng
    add = _place(parts, foot, rng.uniform(0, TAU))
    high = rng.uniform(1.5, 5.0)
    bark = parts.material(w.PLANKS, w.WAVES, gloss=0.0)
    leaves = parts.material(w.SPECKLE, w.PATCHES, gloss=0.0)
    add(w.CONE, (0, -high / 3, 0), (0.04 * high, high / 3, 0.04 * high), bark, shape=(0.5,))
    if rng.random() < 0.4:
        for level in range(3):
            y, r = -high * (0.4 + 0.2 * level), high * (0.22 - 0.05 * level)
            add(w.CONE, (0, y, 0), (r, 0.17 * high, r), leaves, shape=(0.0,))
        return
    crown = high * rng.uniform(0.2, 0.3) * np.array([1, rng.uniform(0.7, 1.2), 1])
    add(w.BLOB, (0, -0.7 * high, 0), crown, leaves, shape=_blob(rng))


def fence(parts: Parts, foot: Vector) -> None:
    """Many equal thin posts and two rails."""
    rng = parts.rng
    add = _place(parts, foot, rng.uniform(0, TAU))
    high, gap, count = rng.uniform(0.7, 1.3), rng.uniform(0.15, 0.35), int(rng.integers(8, 22))
    wood = parts.material(w.PLAIN, w.PLANKS)
    half = gap * (count - 1) / 2
    for number in range(count):
        x = gap * number - half
        add(w.BOX, (x, -high / 2, 0), (0.03, high / 2, 0.02), wood)
    for y in (-0.3 * high, -0.85 * high):
        add(w.BOX, (0, y, 0.03), (half, 0.03, 0.015), wood)


def house(
    parts: Parts, foot: Vector, yaw: float, half: Vector, *, roof: bool, details: bool
) -> None:
    """Walls with painted windows; sills and pipes that stand out; a gable roof."""
    rng = parts.rng
    add = _place(parts, foot, yaw)
    wide, high, deep = half
    walls = parts.material(w.WINDOWS, w.WINDOWS, w.BRICKS, w.PLAIN, gloss=0.0)
    add(w.BOX, (0, -high, 0), (wide, high, deep), walls)
    tiles = parts.material(w.BRICKS, w.STRIPES, w.PLAIN, gloss=0.0)
    if roof:
        rise = rng.uniform(0.3, 0.6) * wide
        add(w.GABLE, (0, -2 * high - rise, 0), (1.1 * wide, rise, 1.05 * deep), tiles)
    if not details:
        return
    frame, glass = parts.material(w.PLAIN), parts.material(w.PLAIN, w.WAVES, gloss=0.6)
    columns, rows = max(2, int(wide * 0.8)), max(1, int(high * 0.8))
    for x in np.linspace(-0.8, 0.8, columns) * wide:
        for y in -2 * high * np.linspace(0.2, 0.85, rows):
            add(w.BOX, (x, y, -deep), (0.3, 0.45, 0.02), glass)
            add(w.BOX, (x, y + 0.47, -deep), (0.36, 0.03, 0.12), frame)
    add(w.CONE, (0.93 * wide, -high, -deep - 0.06), (0.05, high, 0.05), frame)


def rock(parts: Parts, foot: Vector) -> None:
    """A lump, half in the ground."""
    rng = parts.rng
    size = np.exp(rng.uniform(np.log(0.15), np.log(0.9))) * rng.uniform(0.6, 1.2, 3)
    stone = parts.material(w.SPECKLE, w.PATCHES, w.WAVES, gloss=0.0)
    about = turn(rng.uniform(0, TAU), rng.normal(0, 0.3))
    parts.add(w.BLOB, foot, size, stone, rotation=about, shape=_blob(rng))


def solid(parts: Parts, foot: Vector, size: float | None = None) -> None:
    """Any single shape, standing, sometimes tilted."""
    rng = parts.rng
    kind = int(rng.integers(0, 8))
    scale = np.exp(rng.uniform(np.log(0.12), np.log(0.6))) if size is None else size
    half = scale * np.exp(rng.uniform(-0.5, 0.5, 3))
    if kind in (w.CONE, w.TORUS):
        half[2] = half[0]
    about = turn(rng.uniform(0, TAU), rng.normal(0, 0.25) if rng.random() < 0.3 else 0.0)
    shape = {
        w.CONE: (rng.choice([0.0, 1.0, rng.uniform(0, 1)]),),
        w.TORUS: (rng.uniform(0.15, 0.4),),
        w.PILLOW: (rng.uniform(0.1, 0.6),),
        w.TWIST: (rng.uniform(-0.7, 0.7),),
    }.get(kind, (1.0,))
    given = _blob(rng) if kind == w.BLOB else shape
    low = {w.TORUS: shape[0] * half[1]}.get(kind, half[1])
    parts.add(kind, foot - [0, low, 0], half, parts.material(), rotation=about, shape=given)


def _blob(rng: np.random.Generator) -> Vector:
    """Centers and radii of four balls inside the unit ball."""
    balls = np.concatenate([rng.uniform(-0.5, 0.5, (4, 3)), rng.uniform(0.3, 0.5, (4, 1))], axis=1)
    flat: Vector = balls.reshape(-1)
    return flat
