"""Refined cameras and depth agree: what is right stays, what is wrong in a whole view is undone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64
from torch import Tensor

from recon_backbones import Reconstruction
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.refine.depths import FEW, MANY, Ratios, fit_depth
from recon_backbones.refine.model import Cameras, errors
from recon_backbones.refine.tracks import Tracks

from .allocations import peak_allocated

VIEWS, SIZE, WALL = (
    3,
    (30, 40),
    4.0,
)  # a wall that faces all views: its depth is the same everywhere
LENS = torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]).double()


def wall(points: int = 80, seed: int = 0) -> tuple[Reconstruction, Cameras, Tracks]:
    """Views that slide along a wall, photos of twice their size, exact depth and exact tracks."""
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4).double()[None, :3].repeat(VIEWS, 1, 1)
    pose[:, 0, 3] = torch.tensor([0.0, -0.2, 0.2]).double()
    spread = torch.tensor([1.6, 1.3, 0.0]).double()
    places = (torch.rand(points, 3, generator=generator, dtype=torch.float64) - 0.5) * 2 * spread
    cameras = Cameras.of(pose, LENS.expand(VIEWS, 3, 3))
    tracks = Tracks(
        view=torch.arange(VIEWS).repeat(points),
        point=torch.arange(points).repeat_interleave(VIEWS),
        xy=torch.zeros(points * VIEWS, 2).double(),
        points=places + torch.tensor([0, 0, WALL]).double(),
    )
    pixels = PixelMap(photo=(60, 80), size=SIZE, scale_x=0.5, scale_y=0.5)
    seen = pixels.intrinsics_from_photo(LENS).numpy()
    made = Reconstruction(
        photos=("a", "b", "c"),
        root=Path(),
        world_to_camera=pose.numpy(),
        intrinsics=cameras.intrinsics.numpy(),
        sizes=((80, 60),) * VIEWS,
        images=np.zeros((VIEWS, *SIZE, 3), np.uint8),
        depth=np.full((VIEWS, *SIZE), WALL, np.float32),
        confidence=np.ones((VIEWS, *SIZE), np.float32),
        keep=np.ones((VIEWS, *SIZE), bool),
        intrinsics_seen=seen[None].repeat(VIEWS, 0),
        maps=(pixels,) * VIEWS,
        unit="the network's own",
    )
    return made, cameras, replace(tracks, xy=errors(cameras, tracks)[0])


def fitted(made: Reconstruction, cameras: Cameras, tracks: Tracks) -> Reconstruction:
    return fit_depth(made, Ratios.of(made, cameras, tracks))[0]


def tilted(made: Reconstruction, tilts: Float64[Tensor, "v 3"]) -> Reconstruction:
    """Depth times a factor whose logarithm is a plane in each view."""
    rows, columns = (torch.arange(n).double().add(0.5) / n * 2 - 1 for n in SIZE)
    plane = tilts[:, 0, None, None] + tilts[:, 1, None, None] * columns
    plane = plane + tilts[:, 2, None, None] * rows[:, None]
    return replace(made, depth=(made.depth * plane.exp().numpy()).astype(np.float32))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 50), points=st.integers(0, 90))
def test_exact_depth_stays_exact(seed: int, points: int) -> None:
    made, cameras, tracks = wall(points, seed)
    np.testing.assert_allclose(fitted(made, cameras, tracks).depth, made.depth, rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(factors=st.lists(st.floats(0.2, 5.0), min_size=VIEWS, max_size=VIEWS))
def test_a_wrong_factor_of_each_view_is_undone(factors: list[float]) -> None:
    made, cameras, tracks = wall()
    wrong = made.depth * np.array(factors, np.float32)[:, None, None]
    found = fitted(replace(made, depth=wrong), cameras, tracks)
    np.testing.assert_allclose(found.depth, WALL, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(tilts=st.lists(st.floats(-0.2, 0.2), min_size=3 * VIEWS, max_size=3 * VIEWS))
def test_a_tilt_of_each_view_is_undone(tilts: list[float]) -> None:
    """But for what is further out than any track."""
    made, cameras, tracks = wall()
    wrong = tilted(made, torch.tensor(tilts).double().reshape(VIEWS, 3))
    before, after = (Ratios.of(m, cameras, tracks).log.abs() for m in (wrong, made))
    assert float(after.max()) < 1e-6
    left = Ratios.of(fitted(wrong, cameras, tracks), cameras, tracks).log.abs()
    assert float(left.max()) < 0.2 * float(before.max()) + 1e-5


def test_a_third_of_wrong_points_moves_nothing() -> None:
    made, cameras, tracks = wall(120)
    generator = torch.Generator().manual_seed(1)
    ratios = Ratios.of(made, cameras, tracks)
    wrong = torch.rand(len(ratios.log), generator=generator) < 0.33
    noise = torch.randn(len(wrong), generator=generator, dtype=torch.float64)
    found, _ = fit_depth(made, replace(ratios, log=torch.where(wrong, noise, ratios.log)))
    np.testing.assert_allclose(found.depth, WALL, rtol=0.01)


def test_few_points_give_a_factor_and_fewer_none_of_their_own() -> None:
    made, cameras, tracks = wall(MANY - 5)
    wrong = tilted(made, torch.tensor([[0.3, 0.2, 0.1]] * VIEWS).double())
    found = fitted(wrong, cameras, tracks).depth / wrong.depth
    for view in found:  # one factor each
        np.testing.assert_allclose(view, view[0, 0], rtol=1e-6)
    alone = tracks.of((tracks.view != 2) | (tracks.point < FEW - 1))
    doubled = replace(made, depth=made.depth * 2)
    found = fitted(doubled, cameras, alone).depth
    np.testing.assert_allclose(found, WALL, rtol=1e-6)  # the third takes the others' factor
    none = tracks.of(torch.zeros(len(tracks.view), dtype=torch.bool))
    np.testing.assert_array_equal(fitted(doubled, cameras, none).depth, doubled.depth)


def test_noise_that_is_no_plane_is_not_fitted_by_one() -> None:
    made, cameras, tracks = wall(50, seed=3)
    ratios = Ratios.of(made, cameras, tracks)
    sign = torch.where(ratios.point % 2 == 0, 1.0, -1.0).double()
    halves = 0.1 * sign * ratios.xy[:, 0]  # a plane in one half of the points, its opposite beside
    found = fit_depth(made, replace(ratios, log=halves))[0].depth
    for view in found:
        np.testing.assert_allclose(view, view[0, 0], rtol=1e-6)


def test_pixels_that_are_not_kept_say_nothing() -> None:
    made, cameras, tracks = wall()
    keep = made.keep.copy()
    keep[:, :, :20] = False
    depth = made.depth.copy()
    depth[:, :, :20] *= 3
    found = fitted(replace(made, depth=depth, keep=keep), cameras, tracks)
    np.testing.assert_allclose(found.depth[:, :, 20:], WALL, rtol=1e-5)


@pytest.mark.parametrize("points", [0, 80])
def test_what_was_done_is_told(points: int) -> None:
    made, cameras, tracks = wall(points)
    wrong = tilted(made, torch.tensor([[0.1, 0.0, 0.0]] * VIEWS).double())
    told = fit_depth(wrong, Ratios.of(wrong, cameras, tracks))[1]
    assert told.startswith(f"fitted to points in {3 if points else 0} of 3 views")
    assert ("median difference 10 to" in told) == bool(points)


def test_depth_is_compared_view_by_view() -> None:
    made, cameras, tracks = wall()
    large = np.full((VIEWS, 600, 800), WALL, np.float32)
    images = np.zeros((*large.shape, 3), np.uint8)
    kept = np.ones_like(large, dtype=bool)
    made = replace(made, depth=large, keep=kept, images=images, confidence=large)
    assert peak_allocated(lambda: Ratios.of(made, cameras, tracks)) < 1.5 * large.nbytes
