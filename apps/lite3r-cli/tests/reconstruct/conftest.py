"""Photos of a room, and a video."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from recon_eval.data import Scene, SyntheticScenes

from .making import NAMES


@pytest.fixture(scope="module")
def scene() -> Scene:
    return SyntheticScenes("test", count=1, views=4, height=90, width=120)[0]


@pytest.fixture
def room(tmp_path: Path, scene: Scene) -> Path:
    """Photos of a synthetic room, and `cameras.npz` with their true cameras, in meters."""
    assert scene.world_to_camera is not None
    assert scene.intrinsics is not None
    folder = tmp_path / "Räume mit Leerzeichen"
    folder.mkdir()
    for name, image in zip(NAMES, scene.images, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / name)
    np.savez(
        tmp_path / "cameras.npz",
        names=np.array(NAMES),
        world_to_camera=scene.world_to_camera.numpy(),
        intrinsics=scene.intrinsics.numpy(),
    )
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "un clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (112, 84))
    rng = np.random.default_rng(0)
    for _ in range(12):
        coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        writer.write(cv2.resize(coarse, (112, 84)))
    writer.release()
    return path
