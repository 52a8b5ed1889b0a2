"""A small scene with exact depth and cameras, and what is written of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon_eval.formats import PointCloud
from recon_eval.reconstruction import (
    WRITERS,
    PointOptions,
    Reconstruction,
    View,
    gather_points,
)
from recon_eval.synthetic import SyntheticScenes

NAMES = ["a.jpg", "schöne Fotos/b c.png", "b.JPG"]


@pytest.fixture(scope="session")
def views() -> list[View]:
    scene = SyntheticScenes("test", count=1, views=3, height=42, width=56)[0]
    assert scene.depth is not None
    assert scene.world_to_camera is not None
    assert scene.intrinsics is not None
    twice = np.diag([2.0, 2.0, 1.0])
    return [
        View(
            name=name,
            image=(image.permute(1, 2, 0) * 255).byte().numpy(),
            depth=depth.numpy(),
            confidence=np.full((42, 56), 1.0 + number, dtype=np.float32),
            world_to_camera=pose.double().numpy(),
            intrinsics=camera.double().numpy(),
            original_intrinsics=twice @ camera.double().numpy(),
            original_size=(112, 84),
        )
        for number, (name, image, depth, pose, camera) in enumerate(
            zip(
                NAMES,
                scene.images,
                scene.depth,
                scene.world_to_camera,
                scene.intrinsics,
                strict=True,
            )
        )
    ]


@pytest.fixture(scope="session")
def cloud(views: list[View]) -> PointCloud:
    return gather_points(views, PointOptions(confidence_percentile=0.0))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, cloud: PointCloud, views: list[View]) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    folder = folder / "out"
    for view in views:
        photo = folder.parent / "photos" / view.name
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.image).resize((112, 84)).save(photo)
    made = Reconstruction(title="a room", cloud=cloud, views=views, photos=Path("../photos"))
    for name, write in WRITERS.items():
        if name != "colmap_text":  # text holds no spaces
            write(folder, made)
    return folder
