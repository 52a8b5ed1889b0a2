"""With known cameras the unit of depth is the one in which views agree."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from recon_backbones import Prediction
from recon_backbones.views.agreement import agreeing_factor

from .allocations import peak_allocated
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


def test_what_is_taken_beside_the_views_does_not_grow_with_them() -> None:
    """A pair holds two views, and pairs are few."""
    views, height, width = 200, 28, 42
    turn = torch.linspace(0, 0.5, views)
    still = torch.zeros_like(turn)
    shift = torch.stack((turn, still, still), dim=1)[:, :, None]
    many = Prediction(
        depth=torch.ones(1, views, height, width),
        depth_conf=torch.ones(1, views, height, width),
        world_to_camera=torch.cat((torch.eye(3).expand(views, 3, 3), shift), dim=2)[None],
        intrinsics=torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]]).expand(1, views, 3, 3),
    )
    pictures = np.zeros((views, height, width, 3), dtype=np.uint8)
    assert peak_allocated(lambda: agreeing_factor(many, pictures)) < many.depth.nbytes / 2
    tracemalloc.start()
    try:
        agreeing_factor(many, pictures)
        assert tracemalloc.get_traced_memory()[1] < many.depth.nbytes
    finally:
        tracemalloc.stop()


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
