"""With known cameras the unit of depth is the one in which views agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon_backbones import Prediction
from recon_backbones.views.agreement import agreeing_factor

from .rooms import Room, room


@pytest.fixture(scope="module")
def scene() -> Room:
    return room(8, 84, 112)


def exact(scene: Room, factor: float) -> tuple[Prediction, np.ndarray]:
    prediction = Prediction(
        depth=factor * scene.depth[None],
        depth_conf=torch.ones_like(scene.depth)[None],
        world_to_camera=scene.world_to_camera[None],
        intrinsics=scene.intrinsics[None],
    )
    return prediction, (scene.images.permute(0, 2, 3, 1) * 255).byte().numpy()


@pytest.mark.parametrize("factor", [0.1, 0.8, 1.0, 7.0])
def test_true_depth_in_any_unit_is_brought_to_the_cameras(scene: Room, factor: float) -> None:
    found = agreeing_factor(*exact(scene, factor))
    assert found.clear
    assert found.factor * factor == pytest.approx(1, rel=0.04)


def test_wrong_depth_is_brought_near(scene: Room) -> None:
    """Smooth errors of a tenth, such as networks make."""
    prediction, pictures = exact(scene, 3.0)
    generator = torch.Generator().manual_seed(0)
    coarse = 0.1 * torch.randn(1, 8, 4, 5, generator=generator)
    wrong = torch.nn.functional.interpolate(coarse, size=(84, 112), mode="bilinear").exp()
    found = agreeing_factor(replace(prediction, depth=prediction.depth * wrong), pictures)
    assert found.clear
    assert found.factor * 3 == pytest.approx(1, rel=0.12)


def test_without_a_baseline_nothing_is_claimed(scene: Room) -> None:
    prediction, pictures = exact(scene, 2.0)
    standing = prediction.world_to_camera.clone()
    standing[..., 3] = 0
    found = agreeing_factor(replace(prediction, world_to_camera=standing), pictures)
    assert not found.clear
    assert found.factor == 1.0
