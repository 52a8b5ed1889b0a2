"""Fusing depth maps: exact on exact depth, and blind to what one view invents."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from recon_eval import points
from recon_eval.data import Scene, SyntheticScenes

Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return SyntheticScenes("test", count=1, views=4, height=60, width=80)[0]


def parts(scene: Scene) -> Parts:
    found = (scene.depth, scene.valid, scene.world_to_camera, scene.intrinsics)
    assert all(part is not None for part in found)
    return found  # type: ignore[return-value]


def test_every_valid_pixel_becomes_a_point_that_projects_back(scene: Scene) -> None:
    depth, valid, cameras, intrinsics = parts(scene)
    valid = valid & (torch.rand(valid.shape) > 0.5)
    cloud = points.back_project(depth, valid, cameras, intrinsics)
    assert len(cloud.points) == int(valid.sum())
    view, row, column = cloud.pixels.T
    local = (cameras[view, :, :3] @ cloud.points[..., None])[..., 0] + cameras[view, :, 3]
    image = (intrinsics[view] @ local[..., None])[..., 0]
    assert torch.allclose(image[:, 0] / image[:, 2], column + 0.5, atol=1e-2)
    assert torch.allclose(image[:, 1] / image[:, 2], row + 0.5, atol=1e-2)
    assert torch.allclose(local[:, 2], depth[valid], rtol=1e-4)
    assert torch.equal(cloud.colors(scene.images), scene.images.permute(0, 2, 3, 1)[valid])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_depth_of_16_bits_leave_places_as_they_are(
    scene: Scene, dtype: torch.dtype
) -> None:
    depth, *others = parts(scene)
    truth = points.back_project(depth, *others).points
    fused = points.fuse_close(depth, *others, max_distance=0.02, min_views=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(points.back_project(depth, *others).points, truth)
        again = points.fuse_close(depth, *others, max_distance=0.02, min_views=2)
        assert torch.equal(again.points, fused.points)
    rounded = depth.to(dtype)
    assert torch.equal(
        points.back_project(rounded, *others).points,
        points.back_project(rounded.float(), *others).points,
    )


def test_a_scene_far_from_the_origin_is_fused_as_near_it(scene: Scene) -> None:
    depth, valid, cameras, intrinsics = parts(scene)
    near, away = cameras.double(), torch.tensor([4.5e5, 5.4e6, 200.0], dtype=torch.float64)
    far = near.clone()
    far[:, :, 3] -= far[:, :, :3] @ away
    every, moved = (points.back_project(depth, valid, c, intrinsics).points for c in (near, far))
    assert (moved - away - every).abs().max() < 1e-6
    kept = [points.fuse_consistent(depth, valid, c, intrinsics, min_views=2) for c in (near, far)]
    assert len(kept[1].points) == pytest.approx(len(kept[0].points), rel=1e-3)


def test_exact_depth_is_mostly_consistent_and_lies_on_the_surface(scene: Scene) -> None:
    every = points.back_project(*parts(scene))
    fused = points.fuse_consistent(*parts(scene), min_views=2)
    assert len(fused.points) > 0.3 * len(every.points)
    gaps = points.evaluate(fused.points, every.points)
    assert gaps.accuracy_mean < 0.02 * float(parts(scene)[0].median())


def test_what_one_view_invents_is_left_out(scene: Scene) -> None:
    depth, valid, cameras, intrinsics = parts(scene)
    wrong = depth.clone()
    wrong[0] *= 1.3
    kept = points.fuse_consistent(wrong, valid, cameras, intrinsics, min_views=2)
    honest = points.fuse_consistent(depth, valid, cameras, intrinsics, min_views=2)
    from_first = [int((cloud.pixels[:, 0] == 0).sum()) for cloud in (kept, honest)]
    assert from_first[0] < 0.1 * from_first[1]


def test_more_views_asked_for_leave_fewer_points(scene: Scene) -> None:
    counts = [len(points.fuse_consistent(*parts(scene), min_views=n).points) for n in (1, 2, 3, 4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == int(parts(scene)[1].sum())


def test_bad_depth_and_limits_are_refused(scene: Scene) -> None:
    depth, valid, cameras, intrinsics = parts(scene)
    with pytest.raises(ValueError, match="are not finite and positive"):
        points.back_project(-depth, valid, cameras, intrinsics)
    with pytest.raises(ValueError, match="no pixel is valid"):
        points.back_project(depth, valid & False, cameras, intrinsics)
    with pytest.raises(ValueError, match="min_views=5"):
        points.fuse_consistent(depth, valid, cameras, intrinsics, min_views=5)
    with pytest.raises(ValueError, match="max_distance=0"):
        points.fuse_close(depth, valid, cameras, intrinsics, max_distance=0.0)
    with pytest.raises(ValueError, match="max_pixels=0"):
        points.fuse_consistent(depth, valid, cameras, intrinsics, max_pixels=0.0)


@pytest.mark.parametrize("fuse", ["consistent", "close"])
def test_a_cloud_moves_with_the_world_and_grows_with_its_unit(scene: Scene, fuse: str) -> None:
    depth, valid, cameras, intrinsics = (
        x.double() if x.is_floating_point() else x for x in parts(scene)
    )
    turn = torch.from_numpy(Rotation.random(random_state=0).as_matrix())
    shift = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)

    def run(depth: torch.Tensor, cameras: torch.Tensor, scale: float) -> points.FusedCloud:
        if fuse == "consistent":
            return points.fuse_consistent(depth, valid, cameras, intrinsics, min_views=2)
        limit = 0.03 * scale
        return points.fuse_close(depth, valid, cameras, intrinsics, min_views=2, max_distance=limit)

    one = run(depth, cameras, 1.0)
    rotation = cameras[:, :, :3] @ turn.T
    moved = 2 * cameras[:, :, 3:] - rotation @ shift[:, None]
    other = run(2 * depth, torch.cat([rotation, moved], dim=-1), 2.0)
    assert len(one.points) > 100 and torch.equal(one.pixels, other.pixels)
    assert torch.allclose(2 * one.points @ turn.T + shift, other.points, atol=1e-5)


def wall(noise: float) -> Parts:
    """Four cameras before the plane z = 5, which all see everywhere; one of them is off."""
    cameras = torch.eye(3, 4, dtype=torch.float64).repeat(4, 1, 1)
    cameras[:, 0, 3] = torch.tensor([0.0, 0.5, 1.0, 1.5])  # whole pixels apart
    intrinsics = torch.tensor([[20.0, 0, 10], [0, 20, 8], [0, 0, 1]], dtype=torch.float64)
    depth = torch.full((4, 16, 20), 5.0, dtype=torch.float64)
    depth[3] += noise
    return depth, torch.ones(4, 16, 20, dtype=torch.bool), cameras, intrinsics.repeat(4, 1, 1)


def test_points_are_the_mean_of_those_that_are_close_enough() -> None:
    depth, valid, cameras, intrinsics = wall(0.04)
    fused = points.fuse_close(
        depth, valid, cameras, intrinsics, max_distance=0.1, min_views=4
    ).points
    assert torch.allclose(fused[:, 2], torch.tensor(5 + 0.04 / 4, dtype=torch.float64), atol=1e-9)
    # four views overlap in 14 of 20 columns, and each gives its own pixels
    assert len(fused) == 4 * 14 * 16
    apart = {"max_distance": 0.03, "min_views": 4}
    assert len(points.fuse_close(depth, valid, cameras, intrinsics, **apart).points) == 0
    three = points.fuse_close(depth, valid, cameras, intrinsics, max_distance=0.03, min_views=3)
    assert set(three.pixels[:, 0].tolist()) == {0, 1, 2}
    assert torch.equal(three.points[:, 2], torch.full_like(three.points[:, 2], 5.0))


def test_a_draw_keeps_order_and_depends_on_its_seed(scene: Scene) -> None:
    cloud = points.back_project(*parts(scene))
    drawn, again, other = (cloud.draw(50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(drawn.pixels, again.pixels)
    assert not torch.equal(drawn.pixels, other.pixels)
    places = (drawn.pixels * torch.tensor([4800, 80, 1])).sum(1)
    assert (places.diff() > 0).all() and torch.equal(drawn.points, cloud.points[places])
    assert cloud.draw(10**9, seed=0) is cloud
