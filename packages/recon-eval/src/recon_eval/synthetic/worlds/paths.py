"""Where people stand and look when they take pictures: arcs, walks, pans, stereo pairs, jumps.

Every path answers camera centers `v 3` and the points looked at `v 3`. Arcs and jumps come in
random order, walks, pans and pairs in the order of walking, so that the first views of a world
always see much of the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recon_eval.synthetic.worlds.parts import Rng, Vector, tensor
from recon_eval.synthetic.worlds.world import MAX_VIEWS, Cameras

Path = tuple[Vector, Vector]


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Where a place may be looked at from.

    Cameras look at about `target` from `near` to `far` meters, from azimuths within `spread` of
    `middle` (radians; 0 is the side of -z), `low` to `high` meters above the height of `ground`.
    """

    target: Vector
    near: float
    far: float
    middle: float
    spread: float
    low: float
    high: float
    ground: Callable[[Vector], Vector]
    confine: Callable[[Vector], Vector]

    def points(self, azimuth: Vector, reach: Vector, height: Vector) -> Vector:
        """Points round the target, above the ground, inside of what encloses the place."""
        x = self.target[0] + reach * np.sin(azimuth)
        z = self.target[2] - reach * np.cos(azimuth)
        flat = self.confine(np.stack([x, np.zeros_like(x), z], axis=1))
        flat[:, 1] = self.ground(flat) - height
        return self.confine(flat)


def arc(rng: Rng, stand: Stand) -> Path:
    """Somebody goes round the target; one distance, with a little freedom."""
    azimuth = stand.middle + rng.uniform(-0.5, 0.5, MAX_VIEWS) * stand.spread * rng.uniform(0.4, 1)
    reach = rng.uniform(stand.near, stand.far) * rng.uniform(0.85, 1.1, MAX_VIEWS)
    middle = rng.uniform(stand.low, stand.high)
    height = middle + 0.15 * (stand.high - stand.low) * rng.normal(0, 1, MAX_VIEWS)
    centers = stand.points(azimuth, reach, height.clip(stand.low, stand.high))
    return centers, stand.target + rng.normal(0, 0.08 * reach.mean(), (MAX_VIEWS, 3))


def walk(rng: Rng, stand: Stand) -> Path:
    """A film made while walking past or towards the target."""
    start = stand.middle + rng.uniform(-0.5, 0.5) * stand.spread
    pace = rng.choice([-1, 1]) * rng.uniform(0.3, 1.0) * stand.spread / MAX_VIEWS
    azimuth = start + pace * np.arange(MAX_VIEWS)
    first, last = rng.uniform(stand.near, stand.far, 2)
    reach = np.linspace(first, last, MAX_VIEWS)
    sway = 0.02 * np.cumsum(rng.normal(0, 1, (MAX_VIEWS, 3)), axis=0)
    height = rng.uniform(stand.low, stand.high) + sway[:, 1] * (stand.high - stand.low)
    centers = stand.points(azimuth, reach, height.clip(stand.low, stand.high))
    return centers, stand.target + 0.3 * sway * reach.mean() + rng.normal(0, 0.1, 3) * reach.mean()


def pan(rng: Rng, stand: Stand) -> Path:
    """Somebody turns on the spot, and moves no more than arms do."""
    centers, _ = walk(rng, stand)
    spot = centers[0] + rng.normal(0, 0.12, (MAX_VIEWS, 3))
    out = stand.target - spot[0]
    turn = rng.uniform(0.08, 0.25) * np.arange(MAX_VIEWS) * rng.choice([-1, 1])
    turn = 0.6 * np.sin(turn)  # to one side and back
    c, s = np.cos(turn), np.sin(turn)
    ahead = np.stack([c * out[0] + s * out[2], out[1] + 0 * c, c * out[2] - s * out[0]], axis=1)
    return stand.confine(spot), spot + ahead


def stereo(rng: Rng, stand: Stand) -> Path:
    """Pairs side by side with parallel axes, as two-lens cameras take them."""
    centers, aims = arc(rng, stand)
    centers, aims = centers[::2], aims[::2]
    aside = np.cross(aims - centers, [0.0, 1.0, 0.0])
    aside *= rng.uniform(0.02, 0.12) * stand.near / np.linalg.norm(aside, axis=1, keepdims=True)
    pairs = [np.stack([p, p + aside], axis=1).reshape(-1, 3) for p in (centers, aims)]
    return stand.confine(pairs[0]), pairs[1]


def jumps(rng: Rng, stand: Stand) -> Path:
    """Unordered pictures of many people: any distance, any height, any side."""
    azimuth = stand.middle + rng.uniform(-0.5, 0.5, MAX_VIEWS) * stand.spread
    reach = rng.uniform(stand.near, stand.far, MAX_VIEWS)
    height = rng.uniform(stand.low, stand.high, MAX_VIEWS)
    centers = stand.points(azimuth, reach, height)
    return centers, stand.target + rng.normal(0, 0.12, (MAX_VIEWS, 3)) * reach[:, None]


PATHS = {"arc": arc, "walk": walk, "pan": pan, "stereo": stereo, "jumps": jumps}


def draw_cameras(rng: Rng, stand: Stand) -> Cameras:
    """Draw a path and a lens: fields of view of the longer side from 25 to 100 degrees."""
    name = rng.choice(list(PATHS), p=[0.4, 0.25, 0.08, 0.07, 0.2])
    centers, aims = PATHS[name](rng, stand)
    tilt = rng.normal(0, np.deg2rad(4), MAX_VIEWS)
    poses = [look_at(*row) for row in zip(centers, aims, tilt, strict=True)]
    wide = rng.random() < 0.15  # phones and cameras mostly see 45 to 80 degrees
    low, high = (25, 100) if wide else (45, 80)
    angle = rng.uniform(low, high, MAX_VIEWS if rng.random() < 0.2 else 1)
    shift = rng.uniform(-0.15, 0.15, (MAX_VIEWS, 2)) if rng.random() < 0.1 else 0.0
    return Cameras(
        camera_to_world=tensor(np.stack(poses)),
        focal=tensor(np.broadcast_to(1 / np.tan(np.deg2rad(angle) / 2), MAX_VIEWS)),
        shift=tensor(np.broadcast_to(shift, (MAX_VIEWS, 2))),
    )


def look_at(center: Vector, aim: Vector, roll: float) -> Vector:
    """Camera-to-world `3 4` of a camera at `center` that looks at `aim`, its y axis down."""
    ahead = aim - center
    z = ahead / max(1e-6, float(np.linalg.norm(ahead)))
    x = np.cross([0.0, 1.0, 0.0], z + np.array([1e-6, 0, 0]))
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    axes = np.stack([c * x + s * y, c * y - s * x, z], axis=1)
    pose: Vector = np.concatenate([axes, center[:, None]], axis=1)
    return pose
