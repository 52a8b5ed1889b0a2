"""Sightings: a point is seen where depth agrees, from exact scenes and from walls before walls."""

import tracemalloc

import numpy as np
import pytest

from recon_eval.data import SyntheticScenes
from recon_eval.formats import Camera
from recon_eval.points import back_project, find_sightings, observe

LENS = np.array([[8.0, 0, 4], [0, 8.0, 3], [0, 0, 1]])


def rig(count: int) -> list[Camera]:
    """Cameras side by side that look along z."""
    return [
        Camera(
            name=str(i),
            world_to_camera=np.concatenate([np.eye(3), [[-0.1 * i], [0], [0]]], axis=1),
            intrinsics=LENS,
            size=(8, 6),
        )
        for i in range(count)
    ]


def test_every_view_sees_a_wall_and_none_sees_behind_it() -> None:
    depths = [np.full((6, 8), 2.0, np.float32)] * 3
    points = np.array([[0.1, 0, 2.0], [0.1, 0, 3.0], [0.1, 0, -2.0], [99.0, 0, 2.0]])
    found = find_sightings(points, rig(3), depths)
    assert found.tolist() == [[0, 1, 2, -1]] + 3 * [[-1] * 4]


def test_unknown_depth_sees_nothing() -> None:
    depths = [np.full((6, 8), v, np.float32) for v in (0.0, np.nan, np.inf, 2.0)]
    assert find_sightings(np.array([[0.1, 0, 2.0]]), rig(4), depths).tolist() == [[3, -1, -1, -1]]


@pytest.mark.parametrize("sightings", [[[0, 7], [1, -1]], [[0, 1]]])
def test_sightings_of_other_points_or_cameras_are_refused(sightings: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="points are 2 and cameras 2, counted from 0"):
        observe(np.ones((2, 3)), np.array(sightings), rig(2))


def test_depth_is_looked_up_and_not_copied() -> None:
    depths = np.full((50, 200, 200), 2.0, np.float32)
    tracemalloc.start()
    find_sightings(np.array([[0.1, 0, 2.0]]), rig(50), depths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < depths.nbytes / 2


def test_of_too_many_views_those_that_agree_best_are_kept() -> None:
    depths = [np.full((6, 8), 2 * (1 + gap), np.float32) for gap in (0.03, 0.0, 0.02, 0.01, 0.2)]
    points = np.array([[0.1, 0, 2.0]])
    assert find_sightings(points, rig(5), depths, most=2).tolist() == [[1, 3]]
    assert find_sightings(points, rig(5), depths, most=5).tolist() == [[0, 1, 2, 3, -1]]
    assert find_sightings(points, rig(5), depths, most=5, tolerance=0.5)[0, -1] == 4


def test_a_point_is_seen_by_the_view_it_was_made_from_and_lands_on_its_pixel() -> None:
    scene = SyntheticScenes("test", count=1, views=4, height=42, width=56)[0]
    assert scene.depth is not None and scene.valid is not None
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    cloud = back_project(
        scene.depth.double(), scene.valid, scene.world_to_camera, scene.intrinsics.double()
    )
    cameras = [
        Camera(name=str(i), world_to_camera=e.numpy(), intrinsics=k.numpy(), size=(56, 42))
        for i, (e, k) in enumerate(
            zip(scene.world_to_camera.double(), scene.intrinsics.double(), strict=True)
        )
    ]
    points, pixels = cloud.points.numpy(), cloud.pixels.numpy()
    depths = [d.numpy() for d in scene.depth]
    found = find_sightings(points, cameras, depths, most=3)
    assert (found == pixels[:, :1]).any(axis=1).all()
    assert (found >= 0).sum(axis=1).mean() > 1.3  # views share what they see
    seen = observe(points, found, cameras)
    assert len(seen) == (found >= 0).sum()
    own = pixels[seen.point, 0] == seen.camera
    assert own.sum() == len(points)
    centers = pixels[seen.point[own]][:, [2, 1]] + 0.5
    np.testing.assert_allclose(seen.xy[own], centers, atol=1e-3)
    sides = np.array([56, 42])
    assert ((seen.xy >= 0) & (seen.xy <= sides)).all()


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)) * [0.5, 0.3, 0.02] + [0, 0, 2]
    depths = [np.full((6, 8), 2.0, np.float32)] * 3
    whole = find_sightings(points, rig(3), depths)
    assert (whole >= 0).any()
    monkeypatch.setattr("recon_eval.points.sightings.PIECE", 7)
    np.testing.assert_array_equal(find_sightings(points, rig(3), depths), whole)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="cameras: 3 given, and 1 depths"):
        find_sightings(np.zeros((1, 3)), rig(3), [np.ones((6, 8))])
    with pytest.raises(ValueError, match="most=0"):
        find_sightings(np.zeros((1, 3)), rig(1), [np.ones((6, 8))], most=0)


def test_pieces_are_worked_on_apart_and_come_back_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((-1, -1, 1.5), (1, 1, 2.5), (1000, 3))
    depths = [rng.uniform(1.5, 2.5, (6, 8)).astype(np.float32) for _ in range(7)]
    whole = find_sightings(points, rig(7), depths, most=3, tolerance=0.2)
    monkeypatch.setattr("recon_eval.points.sightings.PIECE", 37)
    pieces = find_sightings(points, rig(7), depths, most=3, tolerance=0.2)
    np.testing.assert_array_equal(pieces, whole)
    one_by_one = [
        find_sightings(p[None], rig(7), depths, most=3, tolerance=0.2)[0] for p in points[:50]
    ]
    np.testing.assert_array_equal(whole[:50], one_by_one)
    assert len(np.unique((whole >= 0).sum(axis=1))) > 2


def test_views_and_gaps_are_those_of_one_look_at_every_pair() -> None:
    """Later views agree worse or better; unknown depth is none, however much is tolerated."""
    rng = np.random.default_rng(1)
    points = rng.uniform((-1, -1, 1.5), (1, 1, 2.5), (300, 3))
    depths = [rng.uniform(1.5, 2.5, (6, 8)).astype(np.float32) for _ in range(9)]
    for depth, unknown in zip(depths, (0, np.nan, np.inf, -1, -2, 0, 0, 0, 0), strict=True):
        depth[rng.random(depth.shape) < 0.3] = unknown
    gaps = np.full((300, 9), np.inf, np.float32)
    for view, (camera, depth) in enumerate(zip(rig(9), depths, strict=True)):
        landed, ahead = camera.project(points)
        for point, ((x, y), z) in enumerate(zip(landed, ahead, strict=True)):
            if 0 <= x < 8 and 0 <= y < 6 and 0 < depth[int(y), int(x)] < np.inf:
                gaps[point, view] = abs(z / depth[int(y), int(x)] - 1)
    found = find_sightings(points, rig(9), depths, most=3, tolerance=3.5)
    for seen, gap in zip(found, gaps, strict=True):
        best = sorted(np.argsort(gap, kind="stable")[: min(3, np.isfinite(gap).sum())])
        assert seen[seen >= 0].tolist() == best
