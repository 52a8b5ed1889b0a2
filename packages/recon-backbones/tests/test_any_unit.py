"""A change of the unit of length changes nothing but lengths, from nanometers to light-seconds."""

from dataclasses import replace

import pytest
import torch

from recon_backbones import Prediction, load_backbone, to_metric, umeyama
from recon_backbones.geometry.alignment import robust_umeyama
from recon_backbones.geometry.cameras import invert_rigid, normalize_scene
from recon_backbones.geometry.quaternions import rotation_from_quaternion
from recon_backbones.refine.gauge import in_frame_of_all
from recon_backbones.refine.solve import solve
from recon_backbones.training import make_targets

from .refine.rings import apart, noisy, ring, views_of
from .rooms import room
from .test_prediction import prediction

UNITS = pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9])


def in_unit(cameras: torch.Tensor, unit: float) -> torch.Tensor:
    return torch.cat((cameras[..., :3], unit * cameras[..., 3:]), dim=-1)


@UNITS
def test_depth_for_given_cameras_is_in_their_unit(unit: float) -> None:
    backbone, scene = load_backbone("da3-tiny", weights="bundled"), room(5, 56, 56)
    images, intrinsics = scene.images[None], scene.intrinsics[None]
    with torch.no_grad():
        one, other = (
            backbone(images, world_to_camera=given[None], intrinsics=intrinsics).depth
            for given in (scene.world_to_camera, in_unit(scene.world_to_camera, unit))
        )
    torch.testing.assert_close(other / unit, one, rtol=1e-3, atol=0)


@UNITS
def test_cameras_are_normalized_alike(unit: float) -> None:
    cameras = invert_rigid(room(5, 28, 28).world_to_camera[None])
    torch.testing.assert_close(
        normalize_scene(in_unit(cameras, unit)), normalize_scene(cameras), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("distance", [0.02, 3.0])
def test_two_cameras_are_divided_as_upstream_does(distance: float) -> None:
    cameras = torch.eye(3, 4).repeat(1, 2, 1, 1)
    cameras[0, 1, 0, 3] = distance
    assert normalize_scene(cameras)[0, 1, 0, 3].item() == pytest.approx(distance / 0.1)


@pytest.mark.parametrize("away", [0.0, 1.0, 1e4])
def test_cameras_in_one_place_stay_in_one(away: float) -> None:
    turns = rotation_from_quaternion(torch.randn(1, 6, 4))
    centers = torch.full((3,), away)
    cameras = torch.cat((turns, -(turns @ centers)[..., None]), dim=-1)
    assert normalize_scene(cameras)[..., 3].abs().max() <= 1e-5 * away


@UNITS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_centers_are_aligned_alike(unit: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    turn = rotation_from_quaternion(torch.tensor([0.3, -0.2, 0.5, 0.7], dtype=torch.float64))
    for fit in (umeyama, robust_umeyama):
        for shape, rank in (([1.0, 1, 1], 3), ([1.0, 0.01, 0], 2), ([1.0, 0, 0], 1)):
            flat = source * torch.tensor(shape, dtype=torch.float64)
            found = fit((unit * flat).to(dtype), (2 * flat @ turn.T).to(dtype))
            assert found.rank == rank
            assert found.scale.item() * unit == pytest.approx(2, rel=1e-5)


def test_centers_that_differ_by_rounding_are_one() -> None:
    turns = rotation_from_quaternion(torch.randn(9, 4))
    centers = -(turns.mT @ (turns @ -torch.tensor([0.3, -0.2, 0.4])[:, None]))[..., 0]
    assert umeyama(centers, torch.randn(9, 3)).rank == 0
    assert umeyama(torch.randn(9, 3), centers).rank == 0


@UNITS
def test_cameras_are_refined_alike(unit: float) -> None:
    truth, tracks = ring()
    start = noisy(truth, 0.05)
    start = replace(start, translation=unit * start.translation)
    solved = solve(tracks, views_of(start))
    assert max(apart(solved.cameras, truth)) < 1e-5
    back = in_frame_of_all(solved.cameras, solved.tracks, start, solved.placed)
    assert back is not None
    assert max(apart(back[0], truth)) < 1e-5


@UNITS
def test_training_aims_at_the_same(unit: float) -> None:
    scene = room(3, 28, 42)
    valid = torch.ones_like(scene.depth, dtype=torch.bool)[None]
    one, other = (
        make_targets(u * scene.depth[None], cameras[None], scene.intrinsics[None], valid)
        for u, cameras in (
            (1.0, scene.world_to_camera),
            (unit, in_unit(scene.world_to_camera, unit)),
        )
    )
    torch.testing.assert_close(other.depth, one.depth, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.pose, one.pose, rtol=1e-4, atol=1e-4)


@UNITS
def test_meters_do_not_know_the_unit_before(unit: float) -> None:
    seen: Prediction = prediction(0, size=(12, 10))
    sky = torch.zeros_like(seen.depth)
    one = to_metric(seen, 3 * seen.depth, sky)
    other = to_metric(seen.scaled(torch.full((len(sky),), unit)), 3 * seen.depth, sky)
    torch.testing.assert_close(other.depth, one.depth)
    torch.testing.assert_close(other.world_to_camera, one.world_to_camera)
