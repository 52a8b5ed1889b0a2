"""Similarity transforms: against scikit-image, under laws, and where they do not exist."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from skimage.transform import SimilarityTransform

from recon_eval.align import (
    DegenerateAlignment,
    align_cameras,
    align_cameras_ransac,
    camera_centers,
    icp,
    ransac,
    umeyama,
)

seeds = st.integers(0, 2**31 - 1)


def similarity(rng: np.random.Generator) -> tuple[float, torch.Tensor, torch.Tensor]:
    rotation = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    return (
        float(rng.uniform(0.1, 10)),
        torch.from_numpy(rotation),
        torch.from_numpy(rng.normal(size=3)),
    )


def rig(rng: np.random.Generator, centers: torch.Tensor) -> torch.Tensor:
    rotations = torch.from_numpy(
        Rotation.random(len(centers), random_state=int(rng.integers(2**31))).as_matrix()
    )
    return torch.cat([rotations, -rotations @ centers[..., None]], dim=-1)


@given(seed=seeds, count=st.integers(4, 60))
@settings(deadline=None, max_examples=40)
def test_umeyama_equals_scikit_image(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    scale, rotation, translation = similarity(rng)
    y = scale * x @ rotation.numpy().T + translation.numpy() + 0.1 * rng.normal(size=(count, 3))
    found = umeyama(torch.from_numpy(x), torch.from_numpy(y), min_spread=0.0)
    wanted = SimilarityTransform.from_estimate(x, y).params
    matrix = np.c_[found.scale * found.rotation.numpy(), found.translation.numpy()]
    assert np.abs(matrix - wanted[:3]).max() <= 1e-12 * max(1, np.abs(wanted).max())


@given(seed=seeds, mirrored=st.booleans())
@settings(deadline=None, max_examples=30)
def test_the_rotation_is_never_a_reflection(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(10, 3)))
    y = x * torch.tensor([1, 1, -1.0 if mirrored else 1.0])
    assert float(torch.det(umeyama(x, y).rotation)) == pytest.approx(1, abs=1e-9)


@given(seed=seeds, plane=st.booleans())
@settings(deadline=None, max_examples=30)
def test_an_exact_similarity_is_recovered_also_from_a_plane(seed: int, plane: bool) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(12, 3)))
    if plane:
        x[:, 2] = 0
    scale, rotation, translation = similarity(rng)
    y = scale * x @ rotation.T + translation
    found = umeyama(x, y)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    assert torch.allclose(found.rotation, rotation, atol=1e-8)
    assert torch.allclose(found.apply(x), y, atol=1e-8 * scale * 10)


def test_weights_of_zero_take_points_out() -> None:
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=(9, 3))) for _ in range(2))
    weights = torch.ones(9)
    weights[5:] = 0
    found, wanted = umeyama(x, y, weights=weights), umeyama(x[:5], y[:5])
    assert torch.allclose(found.rotation, wanted.rotation, atol=1e-10)
    assert found.scale == pytest.approx(wanted.scale)


@pytest.mark.parametrize("weights", [[0.0] * 5, [1, 1, 1, 1, -0.1], [1, 1, 1, 1, float("nan")]])
def test_weights_that_weigh_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="they must be at least 0, and not all 0"):
        umeyama(torch.rand(5, 3), torch.rand(5, 3), weights=torch.tensor(weights))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_points_are_refused(count: int) -> None:
    with pytest.raises(DegenerateAlignment, match="at least 3"):
        umeyama(torch.rand(count, 3), torch.rand(count, 3))


def test_points_on_a_line_are_refused_although_their_residual_is_zero() -> None:
    line = torch.linspace(0, 5, 8)[:, None] * torch.tensor([1.0, 2.0, -1.0])
    with pytest.raises(DegenerateAlignment, match="do not fix a rotation"):
        umeyama(line, line)
    with pytest.raises(DegenerateAlignment):
        umeyama(torch.rand(8, 3), line)
    with pytest.raises(DegenerateAlignment):
        umeyama(torch.zeros(8, 3), torch.rand(8, 3))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="source: holds NaN"):
        umeyama(torch.full((4, 3), float("nan")), torch.rand(4, 3))


@given(seed=seeds, count=st.integers(2, 8), line=st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_moved_rig_is_aligned_exactly_also_on_a_line(seed: int, count: int, line: bool) -> None:
    rng = np.random.default_rng(seed)
    centers = torch.from_numpy(rng.normal(size=(count, 3)))
    if line:
        centers = torch.arange(count)[:, None] * torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    target = rig(rng, centers)
    scale, rotation, translation = similarity(rng)
    inverse = rotation.T @ (centers - translation).T / scale  # centers before the similarity
    turned = target[:, :, :3] @ rotation
    predicted = torch.cat([turned, -turned @ inverse.T[..., None]], dim=-1)
    found = align_cameras(predicted, target)
    assert found.method == ("orientations" if line or count == 2 else "umeyama")
    assert found.scale == pytest.approx(scale, rel=1e-6)
    moved = found.apply_to_cameras(predicted)
    assert torch.allclose(moved, target, atol=1e-5)


def test_a_straight_rig_that_runs_backwards_is_refused() -> None:
    rng = np.random.default_rng(3)
    centers = torch.arange(5)[:, None] * torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    target = rig(rng, centers)
    backwards = torch.cat([target[:, :, :3], target[:, :, :3] @ centers[..., None]], dim=-1)
    with pytest.raises(DegenerateAlignment, match=r"the fitted scale is -1.*opposite way"):
        align_cameras(backwards, target)


def test_rounding_errors_are_not_taken_for_a_rig() -> None:
    rng = np.random.default_rng(0)
    target = rig(rng, torch.from_numpy(rng.normal(size=(9, 3))))
    still = rig(rng, torch.full((9, 3), 3.7, dtype=torch.float64)).float()
    centers = camera_centers(still)
    assert 0 < float((centers - centers[0]).norm(dim=-1).max()) < 1e-5
    with pytest.raises(DegenerateAlignment, match="predicted cameras: all 9 stand in one place"):
        align_cameras(still, target.float())
    with pytest.raises(DegenerateAlignment, match="stand in one place"):
        umeyama(centers.float(), torch.rand(9, 3))


def test_a_rig_in_one_place_has_no_scale() -> None:
    target = rig(np.random.default_rng(0), torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(DegenerateAlignment, match="stand in one place"):
        align_cameras(target, target)


def test_ransac_withstands_wrong_cameras_that_ruin_a_fit_of_all() -> None:
    rng = np.random.default_rng(0)
    target = rig(rng, torch.from_numpy(rng.normal(size=(20, 3))))
    predicted = target.clone()
    predicted[::7, :, 3] += 10
    robust = align_cameras_ransac(predicted, target, trials=50)
    assert robust.scale == pytest.approx(1, abs=1e-6)
    assert (robust.method, robust.support) == ("ransac", 17 / 20)
    assert robust.provenance()["alignment_seed"] == 42
    assert abs(align_cameras(predicted, target).scale - 1) > 0.1
    again = align_cameras_ransac(predicted, target, trials=50)
    assert torch.equal(robust.rotation, again.rotation)


def test_ransac_refuses_a_straight_rig() -> None:
    line = torch.arange(9)[:, None] * torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    target = rig(np.random.default_rng(0), line)
    with pytest.raises(DegenerateAlignment):
        align_cameras_ransac(target, target)


@pytest.mark.parametrize("scale", [1.0, 1.01])
def test_icp_finds_a_small_motion(scale: float) -> None:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.random((3000, 3)))
    turn = torch.from_numpy(Rotation.from_rotvec([0.02, -0.01, 0.015]).as_matrix())
    source = ((target - 0.01) @ turn / scale)[:2500]
    learned = source.requires_grad_()  # as a network gives them
    found = icp(learned, target, max_distance=0.1, with_scale=scale != 1, steps=60)
    assert torch.allclose(found.rotation, turn, atol=1e-6)
    assert found.scale == pytest.approx(scale, abs=1e-6)
    assert (found.apply(source) - target[:2500]).norm(dim=-1).max() < 1e-6
    with pytest.raises(DegenerateAlignment, match="lie within"):
        icp(source + 50, target, max_distance=0.1)
    assert (found.method, found.support) == ("icp", 1.0)
    with pytest.raises(ValueError, match="max_distance=inf, steps=30; they must be above 0, fin"):
        icp(source, target, max_distance=float("inf"))
    with pytest.raises(ValueError, match=r"source: 1 of .* points are not finite"):
        icp(source.index_fill(0, torch.tensor([2]), torch.nan), target, max_distance=0.1)


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_one_similarity_then_another_is_their_composition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = (torch.from_numpy(rng.normal(size=(8, 3))) for _ in range(3))
    first, second = umeyama(x, y), umeyama(y, z)
    joined = first.then(second)
    assert torch.allclose(joined.apply(x), second.apply(first.apply(x)), atol=1e-12)
    assert joined.method == "umeyama+umeyama"


def test_ransac_of_points_recovers_what_outliers_hide() -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(60, 3)))
    scale, rotation, translation = similarity(rng)
    y = scale * x @ rotation.T + translation
    y[:20] = torch.from_numpy(rng.normal(size=(20, 3))) * 5
    found = ransac(x, y, threshold=1e-6)
    assert found.scale == pytest.approx(scale)
    assert torch.allclose(found.rotation, rotation, atol=1e-9)
    assert found.support == pytest.approx(40 / 60)
    few = y.clone()
    few[20:57] = torch.from_numpy(rng.normal(size=(37, 3))) * 5  # three are left
    rest = slice(55, 60)
    assert ransac(x[rest], few[rest], threshold=1e-6).support == pytest.approx(3 / 5)
    with pytest.raises(DegenerateAlignment, match="3 of 5 agree with"):
        few[57] += 1
        ransac(x[rest], few[rest], threshold=1e-9, draw=4)
    with pytest.raises(DegenerateAlignment, match="none of 5 draws"):
        ransac(torch.zeros(9, 3), torch.rand(9, 3), threshold=0.1, trials=5)
    with pytest.raises(ValueError, match="draw=2"):
        ransac(x, y, threshold=0.1, draw=2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_cameras_agree_with_themselves_whatever_is_rounded(
    seed: int, dtype: torch.dtype
) -> None:
    cameras = torch.eye(3, 4, dtype=dtype).repeat(8, 1, 1)
    generator = torch.Generator().manual_seed(seed + 40)  # 44 once found no draw that agreed
    cameras[:, :, 3] = torch.rand(8, 3, generator=generator, dtype=dtype)
    found = align_cameras_ransac(cameras, cameras)
    assert found.support == 1
    assert float(found.scale) == pytest.approx(1, abs=1e-5)
