"""Cameras, points and observations of a small COLMAP model."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from recon_eval.formats import (
    Camera,
    Observations,
    PointCloud,
)

NAMES = ["links/a.jpg", "rechts/a.jpg", "schön_und_gut.png", "b.jpg"]
KINDS = ["bin", "txt"]


def cameras() -> list[Camera]:
    rng = np.random.default_rng(0)
    rotations = Rotation.random(len(NAMES), random_state=1).as_matrix()
    return [
        Camera(
            name=name,
            world_to_camera=np.concatenate([turn, rng.normal(size=(3, 1))], axis=1),
            intrinsics=np.array([[90.0 + i, 0, 41.5], [0, 95.0, 30.5], [0, 0, 1]]),
            size=(80 + i, 60),
        )
        for i, (name, turn) in enumerate(zip(NAMES, rotations, strict=True))
    ]


def cloud(count: int = 30) -> PointCloud:
    rng = np.random.default_rng(0)
    return PointCloud(
        points=rng.normal(size=(count, 3)).astype(np.float32),
        colors=rng.integers(0, 256, (count, 3), dtype=np.uint8),
    )


def observations(count: int = 30, *, seed: int = 0) -> Observations:
    """A random choice of pairs, in no order; some points and a camera may have none."""
    rng = np.random.default_rng(seed)
    camera, point = np.nonzero(rng.random((len(NAMES) - 1, count)) < 0.4)
    order = rng.permutation(len(camera))
    xy = rng.uniform(0, 60, (len(camera), 2)).round(3)
    return Observations(camera=camera[order], point=point[order], xy=xy)


def only(folder: Path, kind: str) -> Path:
    """The folder without the files of the other kind."""
    for file in folder.iterdir():
        if file.suffix != f".{kind}":
            file.unlink()
    return folder


def spaced(name: str) -> str:
    return name.replace("_", " ")


def as_set(seen: Observations) -> set[tuple[int, int, float, float]]:
    rows = zip(seen.camera.tolist(), seen.point.tolist(), seen.xy.round(6).tolist(), strict=True)
    return {(camera, point, x, y) for camera, point, (x, y) in rows}
