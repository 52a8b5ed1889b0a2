"""Depth maps become one cloud: where its points are, which are kept, how it is thinned."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon_eval.formats import PointCloud
from recon_eval.reconstruction import (
    PointOptions,
    View,
    depth_edges,
    gather_points,
    thin,
    unproject,
)


def project(view: View, xyz: np.ndarray, camera: np.ndarray) -> np.ndarray:
    seen = (xyz @ view.world_to_camera[:, :3].T + view.world_to_camera[:, 3]) @ camera.T
    return seen[..., :2] / seen[..., 2:]


def test_unprojected_pixels_project_back_onto_their_centers(views: list[View]) -> None:
    for view in views:
        pixels = project(view, unproject(view), view.intrinsics)
        x, y = np.meshgrid(np.arange(56) + 0.5, np.arange(42) + 0.5)
        assert np.abs(pixels - np.stack([x, y], -1)).max() < 1e-3


def test_points_of_one_view_land_on_the_same_surface_in_another(views: list[View]) -> None:
    first, second = views[:2]
    xyz = unproject(first)
    seen = xyz @ second.world_to_camera[:, :3].T + second.world_to_camera[:, 3]
    pixel = np.floor(project(second, xyz, second.intrinsics)).astype(int)
    inside = (seen[..., 2] > 0) & (pixel >= 0).all(-1) & (pixel < (56, 42)).all(-1)
    there = second.depth[pixel[inside][:, 1], pixel[inside][:, 0]]
    assert inside.mean() > 0.2
    assert np.median(np.abs(there / seen[..., 2][inside] - 1)) < 0.02


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_thinning_keeps_the_cap_and_the_most_confident(count: int, cap: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cloud = PointCloud(
        points=rng.normal(size=(count, 3)).astype(np.float32),
        colors=rng.integers(0, 255, (count, 3), dtype=np.uint8),
        confidence=rng.random(count).astype(np.float32),
    )
    kept = thin(cloud, cap)
    assert min(count, max(1, cap // 4)) <= len(kept) <= cap or count <= cap
    assert cloud.confidence.max() in kept.confidence
    assert {tuple(p) for p in kept.points} <= {tuple(p) for p in cloud.points}


@pytest.mark.parametrize("cap", [19_000, 5_000, 300])
@pytest.mark.parametrize("flat", [1.0, 0.0])
def test_thinning_nearly_fills_the_cap(cap: int, flat: float) -> None:
    points = np.random.default_rng(0).random((20_000, 3)).astype(np.float32) * (1, 2, flat)
    kept = thin(PointCloud(points=points.astype(np.float32)), cap)
    assert 0.98 * cap <= len(kept) <= cap


@pytest.mark.parametrize("away", [1e2, 2e6, -2e6, 1e12])
@pytest.mark.parametrize("cap", [19_000, 300])
def test_points_far_off_leave_the_others_as_they_are(cap: int, away: float) -> None:
    points = np.random.default_rng(0).random((20_000, 3)) * (1, 2, 0.5)
    far = np.concatenate([points, [[away, 0, 0], [0, -away, away]]])
    kept = thin(PointCloud(points=far), cap)
    assert 0.98 * cap <= len(kept) <= cap
    assert {tuple(p) for p in far[-2:]} <= {tuple(p) for p in kept.points}


def test_gathering_in_pieces_respects_the_cap(views: list[View]) -> None:
    few = gather_points(views * 5, PointOptions(confidence_percentile=0.0, max_points=500))
    assert 100 < len(few) <= 500


@pytest.mark.parametrize("percentile", [0.0, 20.0])
def test_memory_stays_as_it_is_however_many_views(views: list[View], percentile: float) -> None:
    """But for the confidences of all pixels, where a percentile of them is asked for."""
    options = PointOptions(confidence_percentile=percentile, max_points=500)

    def peak(count: int) -> int:
        tracemalloc.start()
        gather_points(views[:1] * count, options)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(3)
    confidences = views[0].confidence.nbytes * (200 - 20)
    more = peak(200) - peak(20)
    assert more < (3 * confidences if percentile else 0.2 * confidences)


def test_confidences_that_are_not_finite_count_for_nothing(views: list[View]) -> None:
    odd = views[0].confidence.copy()
    odd[:7] = np.nan
    some = [replace(views[0], confidence=odd), replace(views[1], confidence=odd * np.nan)]
    for percentile in (0.0, 50.0):
        kept = gather_points(some, PointOptions(confidence_percentile=percentile))
        assert 0 < len(kept) <= views[0].depth[7:].size
    with pytest.raises(ValueError, match="no pixel has a finite confidence"):
        gather_points(some[1:], PointOptions(confidence_percentile=0.0))


def test_the_least_confident_pixels_are_dropped(views: list[View]) -> None:
    kept = gather_points(views, PointOptions(confidence_percentile=50.0, edge_tolerance=10.0))
    assert set(kept.confidence) == {2.0, 3.0}


def test_depth_edges_are_marked_on_both_sides() -> None:
    depth = np.array([[1.0, 1.0, 2.0, 2.0]] * 2)
    assert depth_edges(depth, 0.1).tolist() == [[False, True, True, False]] * 2
    assert not depth_edges(depth, 1.1).any()


@pytest.mark.parametrize(
    ("field", "value"),
    [("confidence_percentile", 100.0), ("edge_tolerance", 0.0), ("max_points", 0)],
)
def test_impossible_point_options_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}={value}"):
        PointOptions(**{field: value})
