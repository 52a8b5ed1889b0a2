"""The DTU protocol: against the public port's numbers and the protocol written out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from recon_eval import align, dtu
from recon_eval.dtu.thinning import _remove, thin_in_order
from recon_eval.formats import PointCloud, write_ply

seeds = st.integers(0, 2**31 - 1)


def literal_thinning(points: np.ndarray, order: np.ndarray, radius: float) -> np.ndarray:
    """The protocol's sentence: a point still alive deletes every other point within the radius."""
    alive = np.ones(len(points), dtype=bool)
    for i in order:
        if alive[i]:
            near = ((points - points[i]) ** 2).sum(axis=1) <= radius**2
            near[i] = False
            alive[near] = False
    return alive


def literal_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1)).min(axis=1)


def literal_protocol(
    predicted: np.ndarray, truth: dtu.Truth, seed: int, variant: str
) -> tuple[float, float]:
    """Accuracy and completeness by plain loops, voxel by voxel and block by block."""
    seen = truth.observation
    order = np.random.default_rng(seed).permutation(len(predicted))
    points = predicted[literal_thinning(predicted, order, 0.2)]
    above = np.array([p @ seen.plane[:3] + seen.plane[3] > 0 for p in truth.points])
    reference = truth.points[above]
    if variant == "dtueval_python":
        inside = ((points >= seen.low - 60) & (points < seen.high + 120)).all(axis=1)
        points = points[inside]
        forward = literal_distances(points, truth.points)
        backward = literal_distances(reference, points)
    else:
        forward = literal_blocks(points, truth.points, seen)
        backward = literal_blocks(reference, points, seen)
    counted = np.array([voxel_is_seen(p, seen, variant) for p in points])
    forward = forward[counted]
    return forward[forward < 20].mean(), backward[backward < 20].mean()


def voxel_is_seen(point: np.ndarray, seen: dtu.Observation, variant: str) -> bool:
    position = (point - seen.low) / seen.resolution
    if variant == "matlab":  # one-based, and MATLAB rounds halves away from zero
        cell = [int(np.floor(abs(x + 1) + 0.5) * np.sign(x + 1)) - 1 for x in position]
    else:
        cell = [int(x) for x in np.around(position)]
    inside = all(0 <= c < n for c, n in zip(cell, seen.mask.shape, strict=True))
    return inside and bool(seen.mask[tuple(cell)])


def literal_blocks(x: np.ndarray, y: np.ndarray, seen: dtu.Observation) -> np.ndarray:
    """Blocks of 60 mm over the box, each searching its surroundings grown by 60 mm."""
    found = np.full(len(x), 60.0)
    last = np.floor((seen.high - seen.low) / 60).astype(int)
    for block in np.ndindex(*(last + 1)):
        low = seen.low + 60 * np.array(block)
        own = ((x >= low) & (x < low + 60)).all(axis=1)
        near = ((y >= low - 60) & (y < low + 120)).all(axis=1)
        if own.any() and near.any():
            found[own] = np.minimum(60.0, literal_distances(x[own], y[near]))
    return found


def small_truth(rng: np.random.Generator, far: int = 0) -> dtu.Truth:
    """300 points in and around a box of two blocks a side, and some where the blocks end."""
    low = np.array([-20.0, -10.0, 5.0])
    points = [rng.uniform(-30, 60, size=(300, 3)), rng.uniform(100, 140, size=(far, 3))]
    return dtu.Truth(
        scan=7,
        points=np.concatenate(points) + low,
        observation=dtu.Observation(
            mask=rng.random((20, 18, 16)) < 0.7,
            low=low,
            high=low + np.array([75.0, 66.0, 61.0]),
            resolution=4.0,
            plane=np.array([0.1, -0.2, 1.0, 5.0]),
        ),
    )


@given(
    seed=seeds,
    count=st.integers(1, 400),
    radius=st.floats(0.05, 3),
    lattice=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_thinning_equals_the_literal_loop_bit_for_bit(
    seed: int, count: int, radius: float, lattice: bool
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.random((count, 3)) * 4
    if lattice:  # many distances exactly equal to each other and to the radius, and duplicates
        points, radius = np.round(points), float(np.ceil(radius))
    order = rng.permutation(count)
    kept = thin_in_order(points, order, radius=radius)
    assert np.array_equal(kept, literal_thinning(points, order, radius))


def test_a_cloud_whose_points_all_are_neighbors_is_thinned_in_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = []

    def count(alive: Any, visited: Any, found: Any, members: Any) -> int:
        held.append(sum(map(len, found)))
        return _remove(alive, visited, found, members)

    monkeypatch.setattr("recon_eval.dtu.thinning._remove", count)
    points = np.random.default_rng(0).uniform(0, 1e-3, (5000, 3))  # meters taken for millimeters
    assert dtu.thin(points, radius=0.2, seed=0).sum() == 1
    assert max(held) == len(points)


def test_thinning_in_many_chunks_equals_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).random((3000, 3))
    whole = dtu.thin(points, radius=0.1, seed=3)
    monkeypatch.setattr("recon_eval.dtu.thinning.PAIRS", 50)
    monkeypatch.setattr("recon_eval.dtu.thinning.FIRST_CHUNK", 7)
    assert np.array_equal(dtu.thin(points, radius=0.1, seed=3), whole)
    assert 0 < whole.sum() < 3000


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_thinned_points_keep_their_distance_and_cover_the_rest(seed: int) -> None:
    points = np.random.default_rng(seed).random((200, 3))
    kept = dtu.thin(points, radius=0.2, seed=seed)
    gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    assert (gaps[np.ix_(kept, kept)] + np.eye(kept.sum()) > 0.2).all()
    assert (gaps[:, kept].min(axis=1) <= 0.2).all()


def test_the_public_port_prints_the_same_numbers(parity: Path) -> None:
    expected = json.loads((parity / "dtu/expected.json").read_text())
    found = dtu.evaluate_scan(parity / "dtu/pred.ply", parity / "dtu", expected["scan"])
    numbers = (found.accuracy_mm, found.completeness_mm, found.overall_mm)
    assert numbers == pytest.approx(expected["mean"], rel=1e-3)
    assert found.given_points == expected["points_pred"]
    assert found.protocol == "dtu/dtueval_python/0.2-20mm"


@pytest.mark.parametrize("variant", ["dtueval_python", "matlab"])
@given(seed=seeds)
@settings(deadline=None, max_examples=10)
def test_both_variants_equal_the_protocol_written_out(variant: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = small_truth(rng, far=60)
    near = truth.points[rng.integers(0, 360, 250)] + rng.normal(size=(250, 3)) * 3
    predicted = np.concatenate([near, rng.uniform(-150, 250, size=(50, 3))])
    found = dtu.evaluate_cloud(torch.from_numpy(predicted), truth, seed=seed, variant=variant)
    wanted = literal_protocol(predicted, truth, seed, variant)
    assert (found.accuracy_mm, found.completeness_mm) == pytest.approx(wanted, rel=1e-12)


def test_the_seed_decides_the_thinning_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    truth = small_truth(rng)
    cloud = torch.from_numpy(np.repeat(truth.points, 3, axis=0) + 0.1 * rng.random((900, 3)))
    one, again, other = (dtu.evaluate_cloud(cloud, truth, seed=s) for s in (1, 1, 2))
    assert one == again
    assert one.accuracy_mm != other.accuracy_mm
    assert one.accuracy_mm == pytest.approx(other.accuracy_mm, rel=0.2)


def test_the_truth_itself_scores_zero_and_counts_are_kept() -> None:
    truth = small_truth(np.random.default_rng(1))
    far = truth.observation.low + np.array([70.0, 60.0, 60.0])
    cloud = torch.from_numpy(np.concatenate([truth.points, [far, far + 500]]))
    result = dtu.evaluate_cloud(cloud, truth)
    assert result.accuracy_mm == result.completeness_mm == result.overall_mm == 0
    assert result.given_points == 302
    assert result.completeness_points + result.completeness_far <= 300


def test_an_alignment_is_applied_recorded_and_named() -> None:
    truth = small_truth(np.random.default_rng(5))
    cloud = torch.from_numpy(truth.points)
    fit = align.ransac(cloud / 100 + 7, cloud, threshold=1e-6, seed=3)
    found = dtu.evaluate_cloud(cloud / 100 + 7, truth, alignment=fit)
    assert found.overall_mm == pytest.approx(0, abs=1e-9)
    assert found.protocol == "dtu/dtueval_python/0.2-20mm/ransac"
    facts = found.provenance()
    assert facts["scale"] == pytest.approx(100)
    assert (facts["alignment"], facts["alignment_seed"], facts["seed"]) == ("ransac", 3, 0)
    assert dtu.evaluate_cloud(cloud, truth).provenance()["alignment"] == "none"


def test_distances_beyond_the_limit_are_dropped_and_counted() -> None:
    truth = small_truth(np.random.default_rng(2))
    middle = truth.points.mean(axis=0)
    result = dtu.evaluate_cloud(torch.from_numpy(middle[None]), truth)
    gaps = np.linalg.norm(truth.points - middle, axis=1)
    above = truth.observation.above_plane(truth.points)
    assert result.completeness_points == int((gaps[above] < 20).sum())
    assert result.completeness_far == int((gaps[above] >= 20).sum())


@pytest.mark.parametrize("variant", ["dtueval_python", "matlab"])
def test_a_distance_of_exactly_the_limit_is_too_far(variant: str) -> None:
    low = np.zeros(3)
    truth = dtu.Truth(
        scan=1,
        points=np.array([[8.0, 8, 8], [8, 8, 40]]),
        observation=dtu.Observation(
            mask=np.ones((20, 20, 20), dtype=bool),
            low=low,
            high=low + 80,
            resolution=4.0,
            plane=np.array([0.0, 0, 1, 0]),
        ),
    )
    cloud = torch.tensor([[8.0, 8, 28], [8, 8, 9.5]], dtype=torch.float64)
    found = dtu.evaluate_cloud(cloud, truth, variant=variant, max_distance_mm=12.0)
    assert (found.accuracy_points, found.accuracy_far) == (1, 1)
    assert (found.accuracy_mm, found.completeness_mm) == (1.5, 1.5)
    assert (found.completeness_points, found.completeness_far) == (1, 1)
    none = dtu.evaluate_cloud(cloud[:1], truth, variant=variant, max_distance_mm=12.0)
    assert np.isnan([none.accuracy_mm, none.completeness_median_mm]).all()


def test_points_half_way_between_voxels_are_rounded_as_each_variant_does() -> None:
    seen = small_truth(np.random.default_rng(6)).observation
    steps = np.stack(np.meshgrid(*[np.arange(-1.5, 21)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = (seen.low + seen.resolution * steps)[::7]
    up, even = seen.observed(points), seen.observed(points, halves="even")
    assert up.tolist() == [voxel_is_seen(p, seen, "matlab") for p in points]
    assert even.tolist() == [voxel_is_seen(p, seen, "dtueval_python") for p in points]
    assert (up != even).any()


@pytest.mark.parametrize("part", [".", "SampleSet/MVS Data", "SampleSet/mvs_data", "MVS Data"])
def test_every_directory_layout_is_found(tmp_path: Path, part: str) -> None:
    truth = small_truth(np.random.default_rng(3))
    masks = tmp_path / part / "ObsMask"
    masks.mkdir(parents=True)
    clouds = tmp_path / "Points/stl"  # DA3 keeps the points apart from the masks
    clouds.mkdir(parents=True)
    seen = truth.observation
    box = np.stack([seen.low, seen.high])
    savemat(masks / "ObsMask7_10.mat", {"ObsMask": seen.mask, "BB": box, "Res": seen.resolution})
    savemat(masks / "Plane7.mat", {"P": seen.plane[:, None]})
    write_ply(clouds / "stl007_total.ply", PointCloud(points=truth.points))
    found = dtu.find_truth(tmp_path, 7)
    assert np.allclose(found.points, truth.points, atol=1e-4)
    assert np.array_equal(found.observation.mask, seen.mask)
    assert found.observation.resolution == 4.0
    with pytest.raises(FileNotFoundError, match=r"stl008_total\.ply: does not exist"):
        dtu.find_truth(tmp_path, 8)


def test_missing_and_broken_masks_are_named(tmp_path: Path, parity: Path) -> None:
    masks, clouds = tmp_path / "ObsMask", tmp_path / "Points/stl"
    masks.mkdir()
    clouds.mkdir(parents=True)
    write_ply(
        clouds / "stl001_total.ply", PointCloud(points=np.random.default_rng(0).random((5, 3)))
    )
    with pytest.raises(FileNotFoundError, match=r"ObsMask1_10\.mat: does not exist"):
        dtu.find_truth(tmp_path, 1)
    (masks / "ObsMask1_10.mat").write_bytes(b"no matlab file" * 20)
    (masks / "Plane1.mat").write_bytes(b"")
    with pytest.raises(ValueError, match=r"mat: is no MATLAB file"):
        dtu.find_truth(tmp_path, 1)
    savemat(masks / "ObsMask1_10.mat", {"BB": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="has no variable ObsMask, Res"):
        dtu.find_truth(tmp_path, 1)
    savemat(masks / "ObsMask1_10.mat", {"ObsMask": np.ones(3), "BB": np.ones(3), "Res": 1.0})
    savemat(masks / "Plane1.mat", {"P": np.ones(4)})
    with pytest.raises(ValueError, match="must have 3 dimensions"):
        dtu.find_truth(tmp_path, 1)


def test_clouds_that_cannot_be_compared_are_refused() -> None:
    truth = small_truth(np.random.default_rng(4))
    with pytest.raises(ValueError, match="predicted: the cloud is empty"):
        dtu.evaluate_cloud(torch.zeros(0, 3), truth)
    with pytest.raises(ValueError, match="predicted: 1 of 2 points are not finite"):
        dtu.evaluate_cloud(torch.tensor([[0.0, 0, 0], [float("nan"), 0, 0]]), truth)
    with pytest.raises(ValueError, match="give the cloud in millimeters"):
        dtu.evaluate_cloud(torch.rand(10, 3) * 1e-3 + 9000, truth)
    with pytest.raises((ValueError, TypeError), match="fast"):
        dtu.evaluate_cloud(torch.rand(10, 3), truth, variant="fast")
    with pytest.raises(ValueError, match="max_distance_mm=61"):
        dtu.evaluate_cloud(torch.rand(10, 3), truth, max_distance_mm=61.0)


def test_scan_lists_are_those_of_the_literature() -> None:
    sizes = {name: len(scans) for name, scans in dtu.SCANS.items()}
    assert sizes == {
        "mvsnet_test": 22,
        "mvsnet_validation": 18,
        "mvsnet_training": 79,
        "surface_15": 15,
        "views_15": 15,
        "dtu64": 13,
    }
    lists = {name: set(scans) for name, scans in dtu.SCANS.items()}
    assert lists["dtu64"] == lists["surface_15"] - {106, 110}
    assert lists["mvsnet_test"] & lists["surface_15"] == {24, 110, 114, 118}
    splits = [lists[f"mvsnet_{name}"] for name in ("test", "validation", "training")]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 119
    # there are no scans 78 to 81, and MVSNet left five of the 124 out
    assert set(range(1, 129)) - set.union(*splits) == {25, 26, 27, 54, 73, *range(78, 82)}
    assert sum(lists["surface_15"]) == 1208 and sum(lists["views_15"]) == 815
    assert all(scans == tuple(sorted(scans)) for scans in dtu.SCANS.values())
