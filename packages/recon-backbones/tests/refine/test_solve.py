"""Refined cameras land on what exact matches show, whatever the start; frame and unit stay."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_backbones.refine.bundle import Loss, adjust
from recon_backbones.refine.gauge import in_frame_of, in_frame_of_all
from recon_backbones.refine.grow import Grown, _with, grow
from recon_backbones.refine.lenses import Focal, Lenses
from recon_backbones.refine.model import LOCAL, Cameras, errors, linearize, rotation_of, triangulate
from recon_backbones.refine.solve import solve

from .rings import POINTS, SIZE, VIEWS, apart, noisy, ring, views_of


def test_derivatives_are_those_of_the_errors() -> None:
    cameras, tracks = ring(2)
    generator = torch.Generator().manual_seed(0)
    step = 1e-6 * torch.randn(VIEWS, LOCAL, generator=generator, dtype=torch.float64)
    shift = 1e-6 * torch.randn(POINTS, 3, generator=generator, dtype=torch.float64)
    found = linearize(cameras, tracks)
    foreseen = (found.by_camera @ step[tracks.view][..., None])[..., 0]
    foreseen = foreseen + (found.by_point @ shift[tracks.point][..., None])[..., 0]
    moved = errors(cameras.moved(step), tracks.at(tracks.points + shift))[0]
    torch.testing.assert_close(moved - found.error, foreseen, rtol=1e-3, atol=1e-6)


def test_rays_of_true_cameras_meet_in_the_points() -> None:
    cameras, tracks = ring(3)
    torch.testing.assert_close(triangulate(cameras, tracks), tracks.points, rtol=0, atol=1e-7)


@pytest.mark.parametrize("focal", ["shared", "each", "fixed"])
def test_a_perfect_start_stays(focal: Focal) -> None:
    cameras, tracks = ring()
    solved = solve(tracks, views_of(cameras, focal))
    assert max(solved.before, solved.after) < 1e-9
    turn, shift = apart(solved.cameras, cameras)
    assert max(turn, shift) < 1e-6
    torch.testing.assert_close(solved.cameras.lens, cameras.lens, rtol=1e-6, atol=0)


@settings(max_examples=5)
@given(seed=st.integers(0, 100))
def test_noise_on_cameras_is_removed_where_matches_are_exact(seed: int) -> None:
    """To 1e-4, of two degrees, a tenth of the distance and some percent of the focal length."""
    truth, tracks = ring(seed)
    solved = solve(tracks, views_of(noisy(truth, 0.03, seed + 1)))
    assert max(apart(solved.cameras, truth)) < 1e-4
    torch.testing.assert_close(solved.cameras.lens, truth.lens, rtol=1e-4, atol=0)
    assert solved.better


def test_a_third_of_wrong_matches_harms_nothing() -> None:
    truth, tracks = ring(4, views=8, points=150)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(tracks.view), generator=generator) < 0.3
    anywhere = torch.rand(len(wrong), 2, generator=generator, dtype=torch.float64)
    xy = torch.where(wrong[:, None], anywhere * torch.tensor(SIZE), tracks.xy)
    solved = solve(replace(tracks, xy=xy), views_of(noisy(truth, 0.02)))
    assert max(apart(solved.cameras, truth)) < 1e-3
    assert not solved.near[wrong].double().mean() > 0.05
    assert solved.near[~wrong].double().mean() > 0.95


def test_cameras_that_are_wholly_wrong_are_built_anew_from_matches() -> None:
    truth, tracks = ring(5, points=120)
    start = noisy(truth, 2.0)  # turned by two radians, anywhere
    start = replace(start, lens=truth.lens * torch.tensor([1.15, 0.85, 1, 1]))
    solved = solve(tracks, views_of(start))
    assert solved.anew
    assert bool(solved.placed.all())
    assert max(apart(solved.cameras, truth)) < 1e-4


def test_nothing_grows_where_nothing_is_shared() -> None:
    cameras, tracks = ring()
    few = tracks.of(tracks.point < 10)
    assert grow(few, views_of(cameras)) is None


def test_the_cost_never_rises() -> None:
    cameras, tracks = ring(6)
    start = noisy(cameras, 0.05)
    at_start = tracks.at(triangulate(start, tracks))
    loss, lenses = Loss(scale=torch.ones(VIEWS).double()), Lenses.of(start, [SIZE] * VIEWS, "each")
    costs = [loss.cost(start, at_start) + lenses.cost(start)]
    for steps in (1, 2, 4, 8):
        done = adjust(start, at_start, loss, lenses, steps=steps)
        assert done.after == pytest.approx(
            loss.cost(done.cameras, done.tracks) + lenses.cost(done.cameras)
        )
        costs.append(done.after)
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_lenses_stay_one_where_they_are_shared_and_as_they_are_where_fixed() -> None:
    truth, tracks = ring(7)
    start = replace(truth, lens=truth.lens * torch.tensor([1.1, 1.1, 1, 1]))
    shared = solve(tracks, views_of(start, "shared")).cameras.lens
    torch.testing.assert_close(shared, shared[:1].expand_as(shared), rtol=1e-12, atol=0)
    fixed = solve(tracks, views_of(start, "fixed")).cameras.lens
    assert torch.equal(fixed, start.lens)
    each = solve(tracks, views_of(start, "each")).cameras.lens
    assert float((each[:, 0] - each[0, 0]).abs().max()) > 0
    assert torch.equal(each[:, 2:], start.lens[:, 2:])


def test_turned_photos_share_the_focal_length() -> None:
    truth, _ = ring()
    lens = truth.lens.clone()
    lens[0, :2] *= 1.21
    cameras = replace(truth, lens=lens)
    sizes = [(512, 768), *[SIZE] * (VIEWS - 1)]
    lenses = Lenses.of(cameras, sizes, "shared")
    together = lenses.together(cameras).lens[:, :2]
    torch.testing.assert_close(together, together[:1, :1].expand_as(together))
    moved = lenses.untie(torch.arange(int(lenses.column.max()) + 1).double()).reshape(VIEWS, LOCAL)
    assert torch.equal(moved[0, 6:8], moved[1, 6:8].flip(0))  # across is down where turned
    assert not torch.equal(moved[0, 8:], moved[1, 8:])


def test_frame_and_unit_are_those_of_the_start() -> None:
    start, tracks = ring(8)
    turn = rotation_of(torch.tensor([0.3, -0.2, 0.9]).double())
    shift, grown = torch.tensor([1.0, -2.0, 3.0]).double(), 2.5
    pose = torch.cat(
        [
            start.rotation @ turn.T,
            grown * start.translation[..., None]
            - start.rotation @ turn.T @ shift.expand(VIEWS, 3)[..., None],
        ],
        dim=2,
    )
    elsewhere = Cameras.of(pose, start.intrinsics)
    moved = tracks.at(grown * tracks.points @ turn.T + shift)
    torch.testing.assert_close(errors(elsewhere, moved)[0], errors(start, tracks)[0])
    everyone = torch.ones(VIEWS, dtype=torch.bool)
    for back in (
        in_frame_of(elsewhere, moved, start, 1 / grown, 2),
        in_frame_of_all(elsewhere, moved, start, everyone),
    ):
        assert back is not None
        torch.testing.assert_close(back[0].world_to_camera, start.world_to_camera)
        torch.testing.assert_close(back[1].points, tracks.points)


def test_a_view_that_sees_all_in_one_place_is_not_placed() -> None:
    truth, tracks = ring(5)
    xy = torch.where(tracks.view[:, None] == 2, 300.0, tracks.xy)
    grown = Grown(
        cameras=truth,
        tracks=replace(tracks, xy=xy),
        placed=torch.arange(VIEWS) < 2,
        known=torch.ones(POINTS, dtype=torch.bool),
        near=torch.ones(len(xy), dtype=torch.bool),
    )
    assert _with(grown, 2, views_of(truth)) is None
