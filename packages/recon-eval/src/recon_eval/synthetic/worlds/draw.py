"""Draw a random world. The same generator state gives the same world on every machine."""

import numpy as np
import torch

from recon_eval.synthetic.worlds.parts import Parts, Rng, tensor
from recon_eval.synthetic.worlds.paths import draw_cameras
from recon_eval.synthetic.worlds.places import PLACES, Place
from recon_eval.synthetic.worlds.world import MAX_VIEWS, Lens, Light, World


def draw_world(rng: Rng, *, places: tuple[str, ...] = tuple(PLACES), spoiled: bool = True) -> World:
    """Draw a place, its light, and who looks at it; `spoiled` photographs show their lens."""
    name = str(rng.choice(places))
    parts = Parts(rng)
    place = PLACES[name](parts)
    cameras = draw_cameras(rng, place.stand)
    parts.clear(cameras.camera_to_world[:, :, 3].double().numpy())
    solids, materials = parts.tensors()
    return World(
        place=name,
        solids=solids,
        materials=materials,
        ground=place.ground,
        light=_light(rng, place),
        cameras=cameras,
        lens=_lens(rng, spoiled),
    )


def _light(rng: Rng, place: Place) -> Light:
    """The sun where there is a sky, else a lamp under the ceiling or high above the floor."""
    warm = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0)])
    azimuth, up = rng.uniform(0, 2 * np.pi), np.sin(np.deg2rad(rng.uniform(20, 75)))
    if place.outdoors:
        flat = np.sqrt(1 - up * up)
        position = 1e4 * np.array([flat * np.sin(azimuth), -up, flat * np.cos(azimuth)])
    else:
        half = place.ground.half.double().numpy()
        position = half * [rng.uniform(-0.8, 0.8), -rng.uniform(1.5, 1.9), rng.uniform(-0.8, 0.8)]
        position[1] = min(position[1], -1.6)
    blue = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.7), rng.uniform(0.7, 1.0)])
    gray = rng.random() < 0.3
    return Light(
        position=tensor(position),
        color=tensor(rng.uniform(0.35, 0.9) * warm * (0.3 if gray and place.outdoors else 1.0)),
        ambient=tensor((rng.uniform(0.3, 0.55) + 0.25 * gray) * (0.7 + 0.3 * blue)),
        zenith=tensor(np.full(3, 0.75) if gray else blue),
        horizon=tensor(rng.uniform(0.7, 0.95) * np.ones(3)),
        clouds=tensor(rng.uniform(0, 0.8)),
    )


def _lens(rng: Rng, spoiled: bool) -> Lens:
    """One photographer's habits, and what differs from picture to picture."""
    on = float(spoiled)
    views = (MAX_VIEWS,)
    shaky = on * (rng.random() < 0.15)
    blur = on * rng.uniform(0.0, 0.9) * np.ones(views) + on * 0.2 * rng.random(views)
    return Lens(
        exposure=tensor(np.exp(on * (rng.normal(0, 0.15) + rng.normal(0, 0.12, views)))),
        white=tensor(np.exp(on * (rng.normal(0, 0.06, 3) + rng.normal(0, 0.02, (*views, 3))))),
        gamma=tensor(np.exp(on * rng.normal(0, 0.12)) * np.ones(views)),
        vignette=tensor(on * rng.uniform(0, 0.35) * np.ones(views)),
        blur=tensor(blur),
        motion=tensor(shaky * rng.normal(0, 1.5, (*views, 2))),
        noise=tensor(on * np.exp(rng.uniform(np.log(0.002), np.log(0.04))) * np.ones(views)),
        quality=tensor(np.full(views, rng.uniform(40, 98) if spoiled else 100.0)),
        seed=torch.from_numpy(rng.integers(0, 1 << 31, views)),
    )
