"""Cloud metrics: literal sums, laws, Chamfer by name, normals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from recon_eval import align, points

seeds = st.integers(0, 2**31 - 1)


def clouds(seed: int, p: int = 40, q: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(n, 3, generator=generator, dtype=torch.float64) for n in (p, q))


@given(seed=seeds, p=st.integers(1, 60), q=st.integers(1, 60))
@settings(deadline=None, max_examples=30)
def test_metrics_equal_literal_sums(seed: int, p: int, q: int) -> None:
    x, y = clouds(seed, p, q)
    gaps = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    a, c = gaps.amin(1), gaps.amin(0)
    found = points.evaluate(x, y, thresholds=(0.1, 0.2))
    assert found.accuracy_mean == pytest.approx(float(a.mean()))
    assert found.completeness_mean == pytest.approx(float(c.mean()))
    assert found.accuracy_median == pytest.approx(float(a.quantile(0.5)))
    assert found.overall == pytest.approx(float(a.mean() + c.mean()) / 2)
    precision, recall = float((a < 0.1).double().mean()), float((c < 0.1).double().mean())
    assert (found.precision[0.1], found.recall[0.1]) == pytest.approx((precision, recall))
    f = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert found.f_score[0.1] == pytest.approx(f)
    wanted = {
        "mean_of_means": (a.mean() + c.mean()) / 2,
        "sum_of_means": a.mean() + c.mean(),
        "sum_of_squares": (a**2).mean() + (c**2).mean(),
        "half_sum_of_squares": ((a**2).mean() + (c**2).mean()) / 2,
    }
    assert set(wanted) == set(points.CHAMFER)
    for variant, value in wanted.items():
        assert points.chamfer(x, y, variant=variant) == pytest.approx(float(value))
        # every variant is symmetric
        assert points.chamfer(y, x, variant=variant) == pytest.approx(float(value))


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_a_rigid_motion_of_both_clouds_changes_nothing(seed: int) -> None:
    x, y = clouds(seed)
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    shift = torch.tensor([3.0, -2.0, 1.0])
    one = points.evaluate(x, y, thresholds=(0.15,)).numbers()
    other = points.evaluate(x @ turn.T + shift, y @ turn.T + shift, thresholds=(0.15,)).numbers()
    assert other == pytest.approx(one, abs=1e-12, nan_ok=True)


@given(seed=seeds, low=st.floats(0.01, 0.5), factor=st.floats(1, 3))
@settings(deadline=None, max_examples=30)
def test_scores_grow_with_their_threshold(seed: int, low: float, factor: float) -> None:
    found = points.evaluate(*clouds(seed), thresholds=(low, low * factor))
    assert found.precision
    for scores in (found.precision, found.recall, found.f_score):
        assert scores[low] <= scores[low * factor]


def test_a_point_at_the_threshold_is_not_within_it() -> None:
    x, y = torch.zeros(1, 3), torch.tensor([[0.5, 0, 0]])
    found = points.evaluate(x, y, thresholds=(0.5, 0.5000001))
    assert [found.precision[t] for t in found.precision] == [0, 1]
    assert [found.recall[t] for t in found.recall] == [0, 1]


def test_a_cloud_equals_itself() -> None:
    x, _ = clouds(0)
    found = points.evaluate(x, x.flip(0), thresholds=(1e-9,))
    assert found.overall == 0
    assert found.f_score[1e-9] == 1


def test_accuracy_and_completeness_are_told_apart() -> None:
    x, _ = clouds(1)
    half = points.evaluate(x[:20], x)
    assert half.accuracy_mean == 0 < half.completeness_mean


def test_normals_of_a_sphere_point_outwards_or_inwards() -> None:
    rng = np.random.default_rng(0)
    x = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(3000, 3))), dim=-1)
    normals = points.estimate_normals(x)
    assert (normals * x).sum(-1).abs().min() > 0.98
    assert torch.allclose(normals.norm(dim=-1), torch.ones(3000, dtype=torch.float64))
    turned = points.evaluate(x, x, predicted_normals=normals, target_normals=-2 * x)
    assert turned.normal_consistency > 0.99
    crossed = torch.linalg.cross(x, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))
    assert points.evaluate(
        x, x, predicted_normals=crossed, target_normals=x
    ).normal_consistency == pytest.approx(0, abs=1e-9)


def test_normals_agree_in_each_direction_by_itself() -> None:
    x = torch.tensor([[0.0, 0, 0], [10, 0, 0]])
    y = torch.tensor([[0.0, 0, 1], [0, 2, 0], [10, 0, 1]])
    up, side = [0.0, 0, 1], [1.0, 0, 0]
    found = points.evaluate(
        x,
        y,
        predicted_normals=torch.tensor([up, up]),
        target_normals=torch.tensor([up, side, [0, 0.8, -0.6]]),
    )
    assert found.normal_accuracy == pytest.approx((1 + 0.6) / 2)
    assert found.normal_completeness == pytest.approx((1 + 0 + 0.6) / 3)
    mean = (found.normal_accuracy + found.normal_completeness) / 2
    assert found.normal_consistency == pytest.approx(mean)


def test_what_cannot_be_compared_is_refused() -> None:
    x, y = clouds(2)
    with pytest.raises(ValueError, match="predicted: the cloud is empty"):
        points.evaluate(x[:0], y)
    with pytest.raises(ValueError, match="target: the cloud is empty"):
        points.chamfer(x, y[:0], variant="sum_of_means")
    with pytest.raises(ValueError, match="each must be above 0"):
        points.evaluate(x, y, thresholds=(0.0,))
    with pytest.raises(ValueError, match="give both or neither"):
        points.evaluate(x, y, predicted_normals=x)
    with pytest.raises(ValueError, match="1 of 40 points are not finite"):
        points.evaluate(x.index_fill(0, torch.tensor([3]), float("inf")), y)
    with pytest.raises(ValueError, match="neighbors=99"):
        points.estimate_normals(x, neighbors=99)


def test_an_alignment_is_applied_and_recorded() -> None:
    x, _ = clouds(3)
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    moved = (x @ turn.T) * 3 + 5
    normals = torch.nn.functional.normalize(x - 0.5, dim=-1)
    found = points.evaluate(
        moved,
        x,
        thresholds=(1e-6,),
        alignment=align.umeyama(moved, x),
        predicted_normals=normals @ turn.T,
        target_normals=normals,
    )
    assert found.overall < 1e-9
    assert found.normal_consistency == pytest.approx(1)
    assert found.protocol == "points/umeyama"
    facts = found.provenance()
    assert facts["scale"] == pytest.approx(1 / 3)
    assert (facts["alignment"], facts["support"], facts["alignment_seed"]) == ("umeyama", 1.0, None)
    robust = align.ransac(moved, x, threshold=1e-6, seed=5)
    facts = points.evaluate(moved, x, alignment=robust.then(align.umeyama(x, x))).provenance()
    assert (facts["alignment"], facts["alignment_seed"]) == ("ransac+umeyama", 5)
    assert points.evaluate(x, x).provenance()["alignment"] == "none"
    assert points.evaluate(moved, x).overall > 1
