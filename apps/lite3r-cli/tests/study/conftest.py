"""A teacher, drawn sets of views and a folder of photos for studies."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon_backbones import Backbone, load_backbone
from recon_eval.data import Scene, SyntheticScenes


@pytest.fixture(scope="module")
def teacher() -> Backbone:
    return load_backbone("da3-tiny", weights="bundled")


@pytest.fixture(scope="module")
def sets() -> list[Scene]:
    drawn = SyntheticScenes("test", count=2, views=4, height=112, width=112)
    return [drawn[i] for i in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((56, 56)).save(tmp_path / f"{number}.png")
    return tmp_path
