"""Pose metrics: free of gauge, exact at small angles, equal to independent implementations."""

import math
from collections.abc import Callable

import kornia.metrics
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from skimage.transform import SimilarityTransform

from recon_eval import pose
from recon_eval.align import camera_centers
from recon_eval.pose.evaluation import _median

seeds = st.integers(0, 2**31 - 1)


def rig(seed: int, views: int = 6) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(Rotation.random(views, random_state=seed).as_matrix())
    centers = torch.from_numpy(rng.normal(size=(views, 3, 1)))
    return torch.cat([rotation, -rotation @ centers], dim=-1)


def disturbed(cameras: torch.Tensor, seed: int, degrees: float, shift: float) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * rng.normal(size=(len(cameras), 3)))
    moved = torch.from_numpy(turn.as_matrix()) @ cameras
    moved[:, :, 3] += shift * torch.from_numpy(rng.normal(size=(len(cameras), 3)))
    return moved


def in_world(cameras: torch.Tensor, seed: int, scale: float) -> torch.Tensor:
    """The same cameras after the world was turned, moved and scaled."""
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    shift = torch.from_numpy(rng.normal(size=3))
    rotation = cameras[:, :, :3] @ turn.T
    centers = scale * camera_centers(cameras) @ turn.T + shift
    return torch.cat([rotation, -rotation @ centers[..., None]], dim=-1)


def test_pairs_compared_in_parts_are_those_compared_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = rig(3, views=9)
    predicted = disturbed(target, 4, 5, 0.1)
    predicted[1] = predicted[0]
    whole = pose.pair_errors(predicted, target)
    monkeypatch.setattr("recon_eval.pose.pairs.AT_ONCE", 7)
    for name, found in vars(pose.pair_errors(predicted, target)).items():
        torch.testing.assert_close(found, vars(whole)[name], rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_the_middle_of_pairs_is_the_median(count: int) -> None:
    values = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    assert _median(values) == float(values.quantile(0.5))


def test_there_is_a_median_of_the_pairs_of_six_thousand_views() -> None:
    count = 6000 * 5999 // 2  # more than `quantile` takes
    assert _median(torch.arange(count, dtype=torch.float64)) == (count - 1) / 2


@given(seed=seeds, scale=st.floats(0.01, 100))
@settings(deadline=None, max_examples=40)
def test_a_transform_of_the_world_changes_nothing(seed: int, scale: float) -> None:
    target = rig(seed)
    predicted = disturbed(target, seed, 5, 0.1)
    one = pose.pair_errors(predicted, target)
    other = pose.pair_errors(in_world(predicted, seed + 1, scale), in_world(target, seed + 2, 1.0))
    for field in ("rotation_degrees", "direction_degrees"):
        assert (getattr(one, field) - getattr(other, field)).abs().max() < 1e-9


@pytest.mark.parametrize("degrees", [1e-6, 0.01, 0.05, 1.0, 90.0, 179.99])
def test_a_known_rotation_error_is_measured_as_it_is(degrees: float) -> None:
    target = rig(0, views=2)
    predicted = target.clone()
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.0, 0.8])).as_matrix()
    predicted[1] = torch.from_numpy(turn) @ target[1]
    result = pose.evaluate(predicted, target)
    assert result.rotation_median_degrees == pytest.approx(degrees, rel=1e-8)
    in_single = pose.evaluate(predicted.float(), target.float())
    assert in_single.rotation_median_degrees == pytest.approx(degrees, abs=2e-5)


def test_errors_of_every_pair_equal_a_literal_loop_and_kornia() -> None:
    target = rig(1)
    predicted = disturbed(target, 1, 10, 0.3)
    errors = pose.pair_errors(predicted, target)
    row = torch.tensor([[[0.0, 0, 0, 1]]], dtype=torch.float64)
    p, g = (torch.cat([c, row.expand(len(c), 1, 4)], dim=1) for c in (predicted, target))
    for n, (i, j) in enumerate(errors.pairs.tolist()):
        relative, true = p[j] @ torch.linalg.inv(p[i]), g[j] @ torch.linalg.inv(g[i])
        wanted = kornia.metrics.pose_errors(relative, true, fold_translation=False)
        assert float(errors.rotation_degrees[n]) == pytest.approx(float(wanted["R_err"]), abs=1e-9)
        assert float(errors.direction_degrees[n]) == pytest.approx(float(wanted["t_err"]), abs=1e-9)
    assert len(errors.pairs) == 15


@given(
    errors=st.lists(st.floats(0, 60), min_size=1, max_size=40),
    threshold=st.sampled_from([3, 5, 10, 30]),
)
@settings(deadline=None)
def test_exact_auc_equals_kornia(errors: list[float], threshold: int) -> None:
    values = torch.tensor(errors, dtype=torch.float64)
    wanted = kornia.metrics.auc_from_errors(values, threshold)[float(threshold)] / 100
    assert pose.auc_exact(values, threshold) == pytest.approx(wanted, abs=1e-12)


@given(
    errors=st.lists(st.one_of(st.floats(0, 60), st.integers(0, 31).map(float)), min_size=1),
    threshold=st.sampled_from([3, 5, 30]),
)
@settings(deadline=None)
def test_histogram_auc_equals_the_published_procedure(errors: list[float], threshold: int) -> None:
    values = np.array(errors)
    histogram, _ = np.histogram(values, bins=np.arange(threshold + 1))
    wanted = np.mean(np.cumsum(histogram / len(values)))
    assert pose.auc_histogram(torch.from_numpy(values), threshold) == pytest.approx(wanted)


def test_the_two_definitions_of_auc_differ_as_measured_on_uniform_errors() -> None:
    errors = torch.linspace(0, 6, 20001, dtype=torch.float64)[:-1]
    assert pose.auc_histogram(errors, 3) == pytest.approx(1 / 3, abs=2e-3)
    assert pose.auc_exact(errors, 3) == pytest.approx(1 / 4, abs=2e-3)


@pytest.mark.parametrize("auc", [pose.auc_histogram, pose.auc_exact])
@pytest.mark.parametrize("errors", [[], [-1.0, 2.0], [math.nan]])
def test_no_errors_and_what_is_no_error_have_no_auc(
    auc: Callable[..., float], errors: list[float]
) -> None:
    with pytest.raises(ValueError, match=f"errors: {len(errors)} values, some"):
        auc(torch.tensor(errors, dtype=torch.float64), 3)
    with pytest.raises(ValueError, match="threshold=0; it must be above 0"):
        auc(torch.ones(2), 0)


def test_whole_degrees_may_be_floats() -> None:
    assert pose.evaluate(rig(0), rig(0), thresholds=[5.0]).numbers()["auc5"] == 1  # type: ignore[list-item]


def test_perfect_cameras_score_perfectly() -> None:
    result = pose.evaluate(rig(2), rig(2))
    assert result.auc[30] == result.auc_exact[30] == result.rra[3] == result.rta[3] == 1
    assert result.rotation_mean_degrees < 1e-6


def test_the_opposite_direction_is_wrong_unless_folded() -> None:
    target = torch.eye(3, 4, dtype=torch.float64).repeat(2, 1, 1)
    target[1, 0, 3] = 1
    predicted = target.clone()
    predicted[1, 0, 3] = -1
    signed = pose.evaluate(predicted, target)
    folded = pose.evaluate(predicted, target, direction="folded")
    assert signed.direction_median_degrees == pytest.approx(180)
    assert folded.direction_median_degrees == pytest.approx(0, abs=1e-9)
    assert signed.protocol != folded.protocol


def test_a_missing_true_baseline_is_counted_and_a_missing_predicted_one_fails() -> None:
    target = rig(3, views=3)
    target[1, :, 3] = target[1, :, :3] @ target[0, :, :3].T @ target[0, :, 3]  # same center as 0
    errors = pose.pair_errors(target, target)
    assert errors.undefined.tolist() == [True, False, False]
    assert math.isnan(float(errors.direction_degrees[0]))
    result = pose.evaluate(target, target)
    assert result.undefined_directions == 1
    assert result.auc[30] == 1
    still = target.clone()
    still[:, :, 3] = 0
    assert pose.evaluate(still, rig(3, views=3)).direction_median_degrees == 180
    folded = pose.evaluate(still, rig(3, views=3), direction="folded")
    assert folded.direction_median_degrees == 90


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_a_baseline_is_judged_by_the_size_of_its_rig(unit: float) -> None:
    target = rig(9)
    predicted = disturbed(target, 9, 2, 0.1)
    one = pose.pair_errors(predicted, target)
    small, large = predicted.clone(), target.clone()
    small[:, :, 3] *= unit
    large[:, :, 3] *= unit
    other = pose.pair_errors(small, large)
    assert not other.undefined.any()
    assert torch.allclose(one.direction_degrees, other.direction_degrees)
    large[1, :, 3] = large[1, :, :3] @ large[0, :, :3].T @ large[0, :, 3]
    assert int(pose.pair_errors(small, large).undefined.sum()) == 1


@pytest.mark.parametrize(("apart", "undefined"), [(1e-10, True), (1e-8, False)])
def test_a_billionth_of_the_largest_distance_is_no_baseline(apart: float, undefined: bool) -> None:
    cameras = torch.eye(3, 4, dtype=torch.float64).repeat(3, 1, 1)
    cameras[:, 0, 3] = torch.tensor([0.0, apart, 1.0], dtype=torch.float64)
    assert pose.pair_errors(cameras, cameras).undefined.tolist() == [undefined, False, False]


def test_rounding_errors_of_cameras_in_one_place_are_no_baselines() -> None:
    target = rig(9)
    still = target.clone()
    still[:, :, 3:] = -still[:, :, :3] @ torch.full((3, 1), 3.7, dtype=torch.float64)
    assert pose.evaluate(still.float(), target.float()).direction_median_degrees == 180
    assert pose.evaluate(target.float(), still.float()).undefined_directions == 15


def test_more_cameras_make_a_small_baseline_no_smaller() -> None:
    """What counts as rounding follows from how far cameras are out, not from how many there are."""
    pose_at = torch.eye(4)[:3].repeat(50, 1, 1)
    pose_at[:, 0, 3] = torch.tensor([1000.0, 1000.004]).repeat(25)  # float32: rounded to 6e-5
    errors = pose.pair_errors(pose_at, pose_at)
    apart = (errors.pairs % 2).sum(dim=1) == 1
    assert torch.equal(errors.undefined, ~apart)
    assert not pose.pair_errors(pose_at[:2], pose_at[:2]).undefined.any()


def test_all_cameras_in_one_place_leave_no_direction_metric() -> None:
    target = rig(4)
    target[:, :, 3] = 0
    result = pose.evaluate(target, target)
    assert result.undefined_directions == result.pairs == 15
    assert math.isnan(result.direction_median_degrees)
    assert math.isnan(result.rta[30])
    assert result.rra[3] == 1


def test_what_is_no_camera_is_refused_by_view() -> None:
    good = rig(5)
    scaled, mirrored, broken = good.clone(), good.clone(), good.clone()
    scaled[2, :, :3] *= 2
    mirrored[3, 0] *= -1
    broken[1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="predicted: view 2 is not a rotation"):
        pose.evaluate(scaled, good)
    with pytest.raises(ValueError, match="target: view 3 is not a rotation"):
        pose.evaluate(good, mirrored)
    with pytest.raises(ValueError, match=r"predicted: views \[1\] hold NaN"):
        pose.evaluate(broken, good)
    with pytest.raises(ValueError, match="at least 2"):
        pose.evaluate(good[:1], good[:1])
    with pytest.raises((ValueError, TypeError), match=r"the same v of at least 2|Type-check"):
        pose.evaluate(good[:3], good)
    with pytest.raises((ValueError, TypeError), match=r"the same v of at least 2|Type-check"):
        pose.evaluate_trajectory(good[:3], good)
    with pytest.raises(ValueError, match=r"delta=6; with 6 views it must be in 1\.\.5"):
        pose.evaluate_trajectory(good, good, delta=6)
    with pytest.raises((ValueError, TypeError), match="both"):
        pose.evaluate(good, good, direction="both")


def test_a_trajectory_in_another_world_has_no_error() -> None:
    target = rig(6)
    result = pose.evaluate_trajectory(in_world(target, 9, 3.0), target)
    assert result.similarity.scale == pytest.approx(1 / 3)
    assert max(result.numbers().values()) < 1e-5


@given(seed=seeds, scale=st.floats(0.05, 20))
@settings(deadline=None, max_examples=30)
def test_trajectory_errors_depend_on_neither_world(seed: int, scale: float) -> None:
    target = rig(seed)
    predicted = disturbed(target, seed, 3, 0.1)
    one = pose.evaluate_trajectory(predicted, target).numbers()
    other = pose.evaluate_trajectory(in_world(predicted, seed + 1, scale), target).numbers()
    assert other == pytest.approx(one, rel=1e-6, abs=1e-9)
    moved = pose.evaluate_trajectory(predicted, in_world(target, seed + 2, 2.0)).numbers()
    assert moved["ate_rmse"] == pytest.approx(2 * one["ate_rmse"], rel=1e-6)
    angle = "rpe_rotation_rmse_degrees"
    assert moved[angle] == pytest.approx(one[angle], rel=1e-6, abs=1e-6)


def test_trajectory_errors_equal_literal_sums() -> None:
    target = rig(7)
    predicted = in_world(disturbed(target, 3, 4, 0.05), 8, 0.5)
    result = pose.evaluate_trajectory(predicted, target)
    moved = result.similarity.apply_to_cameras(predicted)
    gaps = [(camera_centers(moved)[i] - camera_centers(target)[i]).norm() for i in range(6)]
    assert result.ate_rmse == pytest.approx(math.sqrt(sum(float(g) ** 2 for g in gaps) / 6))
    row = torch.tensor([[[0.0, 0, 0, 1]]], dtype=torch.float64).expand(6, 1, 4)
    p, g = (torch.linalg.inv(torch.cat([c, row], dim=1)) for c in (moved, target))
    slips, turns = [], []
    for i in range(5):
        gap = (
            torch.linalg.inv(torch.linalg.inv(g[i]) @ g[i + 1]) @ torch.linalg.inv(p[i]) @ p[i + 1]
        )
        slips.append(float(gap[:3, 3].norm()))
        turns.append(np.rad2deg(Rotation.from_matrix(gap[:3, :3].numpy()).magnitude()))
    assert result.rpe_translation_rmse == pytest.approx(math.sqrt(np.mean(np.square(slips))))
    assert result.rpe_rotation_rmse_degrees == pytest.approx(math.sqrt(np.mean(np.square(turns))))


def test_the_absolute_error_is_the_residual_of_the_fit_by_scikit_image() -> None:
    target = rig(11)
    predicted = in_world(disturbed(target, 5, 4, 0.2), 6, 3.0)
    x, y = (camera_centers(cameras).numpy() for cameras in (predicted, target))
    fit = SimilarityTransform.from_estimate(x, y)
    wanted = math.sqrt((fit.residuals(x, y) ** 2).mean())
    assert pose.evaluate_trajectory(predicted, target).ate_rmse == pytest.approx(wanted, rel=1e-9)


def test_a_straight_trajectory_says_how_it_was_aligned() -> None:
    target = rig(8)
    centers = torch.arange(6.0, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0, 0.5])
    target[:, :, 3:] = -target[:, :, :3] @ centers[..., None]
    result = pose.evaluate_trajectory(in_world(target, 4, 2.0), target)
    assert result.provenance()["alignment"] == "orientations"
    assert result.ate_rmse < 1e-9


@pytest.mark.parametrize("digits", [6, 8])
def test_cameras_far_from_the_origin_are_measured_as_near_it(digits: int) -> None:
    near = rig(0)
    near[:, :, :3] = near[:, :, :3].mul(10**digits).round() / 10**digits  # as files round them
    far = near.clone()
    far[:, :, 3] -= far[:, :, :3] @ torch.tensor([4.5e5, 5.4e6, 200.0], dtype=torch.float64)
    assert pose.pair_errors(near, far).direction_degrees.max() < 1e-5
    found = pose.evaluate_trajectory(near, far)
    assert max(found.ate_rmse, found.rpe_translation_rmse) < 1e-7
