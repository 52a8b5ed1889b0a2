"""Depth metrics: formulas written out, laws of alignment, refusals."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval import depth

seeds = st.integers(0, 2**31 - 1)


def maps(seed: int, views: int = 2, size: tuple[int, int] = (7, 9)) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(views, *size, generator=generator) * 4 + 1
    noise = torch.rand(views, *size, generator=generator) * 0.6 + 0.7
    valid = torch.rand(views, *size, generator=generator) > 0.3
    valid[:, 0, 0] = True
    return target * noise, target, valid


def test_metrics_equal_their_formulas() -> None:
    d, g = np.array([1.0, 2.0, 4.0, 3.0]), np.array([1.1, 1.9, 2.0, 3.05])
    found = depth.measure(torch.from_numpy(d), torch.from_numpy(g))
    log = np.log(d) - np.log(g)
    ratio = np.maximum(d / g, g / d)
    wanted = {
        "abs_rel": np.mean(np.abs(d - g) / g),
        "sq_rel": np.mean((d - g) ** 2 / g),
        "mae": np.mean(np.abs(d - g)),
        "rmse": np.sqrt(np.mean((d - g) ** 2)),
        "log_rmse": np.sqrt(np.mean(log**2)),
        "log10": np.mean(np.abs(np.log10(d) - np.log10(g))),
        "silog": 100 * np.sqrt(np.mean(log**2) - np.mean(log) ** 2),
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.25**2),
        "delta3": np.mean(ratio < 1.25**3),
        "inlier_103": np.mean(ratio < 1.03),
    }
    assert found == pytest.approx(wanted, rel=1e-12)
    assert list(found) == [field.name for field in fields(depth.DepthMetrics)]
    result = depth.evaluate(
        torch.from_numpy(d)[None, None], torch.from_numpy(g)[None, None], alignment="none"
    )
    assert result.numbers() == pytest.approx(wanted, rel=1e-12)
    assert result.rmse == result.numbers()["rmse"]


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_ratio_of_exactly_the_threshold_is_not_within_it(power: int) -> None:
    d, g = torch.tensor([1.25**power], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert depth.measure(d, g)[f"delta{power}"] == 0
    assert depth.measure(d - 1e-12, g)[f"delta{power}"] == 1


def test_truth_scores_perfectly() -> None:
    _, target, valid = maps(0)
    numbers = depth.evaluate(target, target, valid, alignment="none").numbers()
    assert len(numbers) == 11
    for name, value in numbers.items():
        best = 1.0 if name.startswith(("delta", "inlier")) else 0.0
        assert value == pytest.approx(best, abs=1e-12)


@given(seed=seeds, scale=st.floats(0.01, 100), kind=st.sampled_from(depth.ALIGNMENTS[1:]))
@settings(deadline=None, max_examples=40)
def test_aligned_metrics_ignore_the_scale_of_the_prediction(
    seed: int, scale: float, kind: depth.Alignment
) -> None:
    predicted, target, valid = (x.double() if x.is_floating_point() else x for x in maps(seed))
    for scope in ("sequence", "image"):
        one = depth.evaluate(predicted, target, valid, alignment=kind, scope=scope).numbers()
        other = depth.evaluate(predicted * scale, target, valid, alignment=kind, scope=scope)
        assert other.numbers() == pytest.approx(one, rel=1e-6)


@given(seed=seeds, kind=st.sampled_from(["scale_l1", "scale_l2", "affine_l1", "affine_l2"]))
@settings(deadline=None, max_examples=40)
def test_no_other_fit_has_a_smaller_residual(seed: int, kind: depth.Alignment) -> None:
    predicted, target, valid = maps(seed)
    d, g = predicted[valid].double(), target[valid].double()
    _, scale, shift = depth.align(d, g, kind)
    power = 1 if kind.endswith("l1") else 2
    least = float(((scale * d + shift - g).abs() ** power).sum())
    rng = np.random.default_rng(seed)
    for _ in range(50):
        s = scale * (1 + rng.normal() * 0.05)
        t = shift + (rng.normal() * 0.05 if kind.startswith("affine") else 0)
        assert float(((s * d + t - g).abs() ** power).sum()) >= least * (1 - 1e-6)


@pytest.mark.parametrize(
    ("predicted", "target", "scale"),
    [
        ([1.0, 2.0, 9.0], [2.0, 8.0, 9.0], 8 / 2),
        ([1.0, 2.0, 3.0, 50.0], [2.0, 4.0, 6.0, 7.0], 5 / 2.5),  # even: between the middle two
        ([4.0], [1.0], 0.25),
    ],
)
def test_the_median_scale_is_the_ratio_of_the_medians(
    predicted: list[float], target: list[float], scale: float
) -> None:
    aligned, found, shift = depth.align(torch.tensor(predicted), torch.tensor(target), "median")
    assert (found, shift) == (pytest.approx(scale), 0.0)
    assert aligned.tolist() == pytest.approx([scale * d for d in predicted])


@given(seed=seeds)
@settings(deadline=None, max_examples=5)
def test_each_view_alone_is_aligned_as_if_there_were_no_other(seed: int) -> None:
    predicted, target, valid = maps(seed, views=3)
    for kind in depth.ALIGNMENTS:
        together = depth.evaluate(predicted, target, valid, alignment=kind, scope="image")
        for i in range(3):
            part = (x[i : i + 1] for x in (predicted, target, valid))
            alone = depth.evaluate(*part, alignment=kind, scope="image")
            assert (together.scales[i], together.shifts[i]) == (alone.scales[0], alone.shifts[0])
            assert together.per_view["rmse"][i] == pytest.approx(alone.rmse)
        if kind != "none":
            joint = depth.evaluate(predicted, target, valid, alignment=kind)
            assert len(joint.scales) == 1


def test_affine_fits_recover_an_affine_map() -> None:
    _, target, valid = maps(3)
    for kind in ("affine_l1", "affine_l2"):
        result = depth.evaluate((target - 0.5) / 3, target, valid, alignment=kind)
        assert result.scales[0] == pytest.approx(3, rel=1e-4)
        assert result.shifts[0] == pytest.approx(0.5, rel=1e-4)
        assert result.abs_rel < 1e-5


def test_disparity_affine_recovers_an_affine_disparity() -> None:
    _, target, valid = maps(4)
    predicted = 1 / ((1 / target.double() - 0.05) / 2)
    result = depth.evaluate(predicted, target, valid, alignment="disparity_affine")
    assert (result.scales[0], result.shifts[0]) == pytest.approx((2, 0.05), rel=1e-5)
    assert result.abs_rel < 1e-6


def test_l1_scale_withstands_outliers_that_move_l2() -> None:
    _, target, _ = maps(5)
    predicted = target.clone()
    predicted[0, 0, :4] = 20
    least = depth.evaluate(predicted, target, alignment="scale_l1")
    assert least.scales[0] == pytest.approx(1, abs=1e-6)
    assert depth.evaluate(predicted, target, alignment="scale_l2").scales[0] < 0.9


@pytest.mark.parametrize("alignment", ["median", "scale_l1", "scale_l2"])
def test_depth_behind_the_camera_is_refused_and_not_turned(alignment: depth.Alignment) -> None:
    truth = torch.rand(1, 4, 4) + 1
    with pytest.raises(ValueError, match=r"predicted: its .* it must be above 0"):
        depth.evaluate(-truth, truth, alignment=alignment)


def test_one_scale_for_the_sequence_shows_a_drift_between_views() -> None:
    _, target, valid = maps(6)
    drifting = target * torch.tensor([1.0, 2.0])[:, None, None]
    assert depth.evaluate(drifting, target, valid, scope="image").abs_rel < 1e-6
    assert depth.evaluate(drifting, target, valid, scope="sequence").abs_rel > 0.2


def test_a_view_without_valid_pixels_is_counted_and_not_averaged() -> None:
    predicted, target, valid = maps(7)
    valid[1] = False
    both = depth.evaluate(predicted, target, valid)
    alone = depth.evaluate(predicted[:1], target[:1], valid[:1])
    assert both.dropped_views == 1
    assert math.isnan(both.per_view["abs_rel"][1])
    assert both.numbers() == alone.numbers()
    assert both.valid + both.ignored == valid.numel()


def test_invalid_pixels_have_no_influence() -> None:
    predicted, target, valid = maps(8)
    wild = predicted.clone()
    wild[~valid] = float("nan")
    junk = target.clone()
    junk[~valid] = -5
    assert (
        depth.evaluate(wild, junk, valid).numbers()
        == depth.evaluate(predicted, target, valid).numbers()
    )


def test_depths_below_zero_after_a_shift_are_clamped_and_counted() -> None:
    target = torch.tensor([[[1.0, 2.0, 3.0, 10.0]]])
    predicted = torch.tensor([[[0.1, 2.0, 3.0, 4.0]]])
    result = depth.evaluate(predicted, target, alignment="affine_l2")
    assert result.clamped == 1
    assert all(math.isfinite(value) for value in result.numbers().values())


def test_infinite_depths_are_clamped_to_a_thousand_medians_and_counted() -> None:
    target = torch.tensor([[[1.0, 2.0, 3.0, 1000.0]]])
    predicted = torch.tensor([[[1.0, 2.0, 3.0, 1e9]]])
    result = depth.evaluate(predicted, target, alignment="none")
    assert result.clamped == 1
    assert result.mae == pytest.approx((1000 * 2 - 1000) / 4)  # the lower median of the truth is 2
    low = depth.evaluate(torch.tensor([[[1e-9, 2.0, 3.0]]]), target[..., :3], alignment="none")
    assert low.mae == pytest.approx((1 - 1e-3 * 2) / 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_is_refused(bad: float) -> None:
    predicted, target, valid = maps(9)
    predicted[1, 0, 0] = bad
    with pytest.raises(ValueError, match=r"predicted: NaN or infinite at 1 valid pixels .*\[1\]"):
        depth.evaluate(predicted, target, valid)


def test_bad_arguments_are_refused_by_name() -> None:
    predicted, target, valid = maps(10)
    with pytest.raises((ValueError, TypeError), match="best"):  # TypeError: the checked signature
        depth.evaluate(predicted, target, valid, alignment="best")
    with pytest.raises((ValueError, TypeError), match="scene"):
        depth.evaluate(predicted, target, valid, scope="scene")
    with pytest.raises(ValueError, match="no pixel of any view is valid"):
        depth.evaluate(predicted, target, torch.zeros_like(valid))
    with pytest.raises((ValueError, TypeError), match=r"depth\.resize|Type-check"):
        depth.evaluate(predicted[:, :3], target)
    spoilt = target.clone()
    spoilt[0, 0, 0] = 0
    spoilt[1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="target: 2 valid pixels are not finite and positive"):
        depth.evaluate(predicted, spoilt, valid)
    with pytest.raises(ValueError, match="must be above 0"):
        depth.evaluate(predicted * 0, target, valid)


@given(height=st.integers(1, 20), width=st.integers(1, 20), factor=st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_resizing_up_by_a_whole_factor_and_back_is_the_identity(
    height: int, width: int, factor: int
) -> None:
    values = torch.arange(height * width).reshape(1, height, width)
    large = depth.resize(values, height=height * factor, width=width * factor)
    assert torch.equal(large, values.repeat_interleave(factor, 1).repeat_interleave(factor, 2))
    assert torch.equal(depth.resize(large, height=height, width=width), values)


def test_a_constant_prediction_has_no_scale_but_the_middle_of_the_truth() -> None:
    truth = 7 * torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(3)) + 0.3
    wall = torch.full_like(truth, 1.7)
    middle = depth.evaluate(wall, truth, alignment="median").numbers()
    found = depth.evaluate(wall, truth, alignment="affine_l1")
    assert found.numbers() == pytest.approx(middle, rel=1e-12)
    assert found.scales == (0.0,)
