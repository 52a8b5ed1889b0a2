"""Photos by one camera get one: fitted to the rays of all views, unmoved by a few wrong ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recon_backbones import (
    Backbone,
    GivenCamera,
    InputError,
    Refinement,
    load_backbone,
    reconstruct,
)
from recon_backbones.geometry.cameras import pinhole
from recon_backbones.geometry.one_camera import (
    fit_one_camera,
    fit_square_pixels,
    weighted_median,
)
from recon_backbones.geometry.pixels import PixelMap

SEEN = (28, 42)  # height and width at the network


def photo_map(width: int, height: int) -> PixelMap:
    """A whole photo, resampled to what the network sees."""
    return PixelMap(photo=(height, width), size=(height, width)).resized(SEEN)


def lens(fx: float, fy: float, width: int, height: int) -> torch.Tensor:
    focal_x, focal_y = torch.tensor([fx, fy], dtype=torch.float64)
    return pinhole(focal_x, focal_y, (height, width))


def seen_of(photo: torch.Tensor, pixels: PixelMap) -> torch.Tensor:
    return pixels.intrinsics_from_photo(photo)


@given(focal=st.floats(20, 20_000), width=st.integers(60, 4000), height=st.integers(60, 4000))
def test_views_of_one_camera_give_it_back(focal: float, width: int, height: int) -> None:
    """Through the network's pixels, which are not square where shapes differ."""
    pixels = photo_map(width, height)
    truth = lens(focal, focal, width, height)
    k = torch.stack([seen_of(truth, pixels)] * 3)
    found = fit_one_camera(k, torch.rand(3, *SEEN) + 1, [pixels] * 3)
    assert found.focal == pytest.approx(focal, rel=1e-9)
    torch.testing.assert_close(found.intrinsics, truth.expand(3, 3, 3), rtol=1e-9, atol=0)
    assert found.doubt() is None


def test_photos_of_other_sizes_have_the_same_focal_length_and_a_middle_of_their_own() -> None:
    sizes = [(300, 200), (200, 300), (300, 200)]
    maps = [photo_map(*size) for size in sizes]
    k = [seen_of(lens(250, 250, *size), m) for size, m in zip(sizes, maps, strict=True)]
    found = fit_one_camera(torch.stack(k), torch.ones(3, *SEEN), maps)
    assert found.sizes == tuple(sizes)
    assert torch.equal(found.intrinsics[0], found.intrinsics[2])
    assert found.intrinsics[:, 0, 2].tolist() == [150, 100, 150]
    assert found.intrinsics[:, 1, 2].tolist() == [100, 150, 100]
    torch.testing.assert_close(found.intrinsics[:, 0, 0], torch.full((3,), 250.0).double())
    assert "2 sizes" in found.describe()


def test_a_crop_of_a_photo_tells_the_focal_length_of_the_photo() -> None:
    pixels = photo_map(300, 200).moved(-10, -4, (20, 20))
    k = seen_of(lens(260, 260, 300, 200), pixels)[None]
    found = fit_one_camera(k, torch.ones(1, 20, 20), [pixels])
    assert found.focal == pytest.approx(260, rel=1e-9)


def test_a_few_views_that_are_wrong_do_not_move_the_camera() -> None:
    pixels = photo_map(300, 200)
    focals = [250.0] * 5 + [900.0, 1200.0]
    k = torch.stack([seen_of(lens(f, f, 300, 200), pixels) for f in focals])
    found = fit_one_camera(k, torch.ones(7, *SEEN), [pixels] * 7)
    assert found.focal == pytest.approx(250)
    sure = torch.ones(7, *SEEN)
    sure[5:] = 10.0  # the network is far surer of the two
    assert fit_one_camera(k, sure, [pixels] * 7).focal >= 900


def test_the_shared_camera_moves_points_least_among_square_ones() -> None:
    """The sum of squared distances of rays, times confidence, is least at what is found."""
    pixels = photo_map(300, 200)
    k = seen_of(lens(280, 210, 300, 200), pixels)
    confidence = torch.rand(*SEEN, generator=torch.Generator().manual_seed(0)).double() + 1
    found = fit_one_camera(k[None], confidence[None], [pixels]).focal

    def moved(focal: float) -> float:
        u = torch.arange(SEEN[1]).double() + 0.5
        v = torch.arange(SEEN[0]).double()[:, None] + 0.5
        own = seen_of(lens(focal, focal, 300, 200), pixels)
        gap_x = (u - k[0, 2]) / k[0, 0] - (u - own[0, 2]) / own[0, 0]
        gap_y = (v - k[1, 2]) / k[1, 1] - (v - own[1, 2]) / own[1, 1]
        return float((confidence * (gap_x.square() + gap_y.square())).sum())

    assert 210 < found < 280
    assert moved(found) < min(moved(found * 1.001), moved(found / 1.001))


def test_padding_has_no_say() -> None:
    pixels = photo_map(300, 200).moved(0, 7, (42, 42))
    k = seen_of(lens(280, 210, 300, 200), pixels)[None]
    even = torch.ones(1, 42, 42)
    odd = even.clone()
    odd[:, :7], odd[:, 35:] = 1e6, 1e6
    assert fit_one_camera(k, odd, [pixels]).focal == fit_one_camera(k, even, [pixels]).focal


def test_sizes_that_speak_of_two_cameras_are_doubted() -> None:
    sizes = [(300, 200), (300, 200), (150, 100)]
    maps = [photo_map(*size) for size in sizes]
    focals = (250.0, 250.0, 125.0)  # the last was resized
    k = [seen_of(lens(f, f, *s), m) for f, s, m in zip(focals, sizes, maps, strict=True)]
    doubt = fit_one_camera(torch.stack(k), torch.ones(3, *SEEN), maps).doubt()
    assert doubt is not None
    assert "150 x 100" in doubt and "300 x 200" in doubt and "resized" in doubt


@given(values=st.lists(st.floats(-9, 9), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_the_weighted_median_is_nearest_to_all_values(values: list[float], seed: int) -> None:
    x = torch.tensor(values).double()
    weights = torch.rand(len(values), generator=torch.Generator().manual_seed(seed)).double() + 0.1
    middle = weighted_median(x, weights)
    cost = ((x - middle).abs() * weights).sum()
    assert all(cost <= ((x - other).abs() * weights).sum() + 1e-9 for other in x)


def test_equal_weights_give_the_common_median() -> None:
    ones = torch.ones(4).double()
    assert weighted_median(torch.tensor([9.0, 1.0, 2.0, 4.0]).double(), ones) == 3.0


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index, size in enumerate([(90, 60), (90, 60), (60, 90)]):
        Image.effect_noise(size, 80).save(tmp_path / f"{index}.png")
    return tmp_path


def test_reconstructing_with_one_camera_says_so_and_keeps_depth_and_poses(
    photos: Path, backbone: Backbone
) -> None:
    said: list[str] = []
    found = reconstruct(photos, backbone, size=56, shared_camera=True, say=said.append)
    free = reconstruct(photos, backbone, size=56)
    np.testing.assert_array_equal(found.intrinsics[0], found.intrinsics[1])
    assert (found.intrinsics[:, 0, 0] == found.intrinsics[0, 0, 0]).all()
    assert (found.intrinsics[:, 1, 1] == found.intrinsics[0, 0, 0]).all()
    assert found.intrinsics[:, :2, 2].tolist() == [[45, 30], [45, 30], [30, 45]]
    np.testing.assert_array_equal(found.depth, free.depth)
    np.testing.assert_array_equal(found.world_to_camera, free.world_to_camera)
    ratio = found.intrinsics[:, 0, 0] / found.intrinsics_seen[:, 0, 0]
    np.testing.assert_allclose(ratio, [1 / m.scale_x for m in found.maps], rtol=1e-5)
    assert dict(found.facts)["camera"].startswith("one for all photos: focal length")
    assert any(sentence.startswith("camera: one for all photos") for sentence in said)


def test_square_pixels_stay_and_two_focal_lengths_become_one_between_them() -> None:
    pixels = photo_map(300, 200)
    square = seen_of(lens(250, 250, 300, 200), pixels)
    other = seen_of(lens(280, 210, 300, 200), pixels)
    k = torch.stack([square, other])
    found = fit_square_pixels(k, torch.ones(2, *SEEN), [pixels] * 2)
    torch.testing.assert_close(found[0], square.double())
    photo = pixels.intrinsics_to_photo(found[1])
    assert 245 < float(photo[0, 0]) < 280, "nearer to the focal length of the longer side"
    torch.testing.assert_close(photo[0, 0], photo[1, 1])
    torch.testing.assert_close(found[:, :2, 2], k[:, :2, 2].double())


def test_of_a_cropped_photo_the_principal_point_stays_where_the_network_saw_it() -> None:
    pixels = photo_map(300, 200)
    k = seen_of(lens(250, 250, 300, 200), pixels)
    k[0, 2] += 9
    found = fit_square_pixels(k[None], torch.ones(1, *SEEN), [pixels])
    torch.testing.assert_close(found[0], k.double())


def test_photos_have_square_pixels_unless_the_two_focal_lengths_are_asked_for(
    photos: Path, backbone: Backbone
) -> None:
    square = reconstruct(photos, backbone, size=56)
    free = reconstruct(photos, backbone, size=56, square_pixels=False)
    np.testing.assert_allclose(square.intrinsics[:, 0, 0], square.intrinsics[:, 1, 1], rtol=1e-6)
    assert (abs(free.intrinsics[:, 0, 0] / free.intrinsics[:, 1, 1] - 1) > 1e-3).any()
    low = np.minimum(free.intrinsics[:, 0, 0], free.intrinsics[:, 1, 1])
    high = np.maximum(free.intrinsics[:, 0, 0], free.intrinsics[:, 1, 1])
    assert (low <= square.intrinsics[:, 0, 0] + 1e-3).all()
    assert (square.intrinsics[:, 0, 0] <= high + 1e-3).all()
    np.testing.assert_array_equal(square.depth, free.depth)
    np.testing.assert_array_equal(square.world_to_camera, free.world_to_camera)


def test_given_cameras_are_not_shared_as_well(photos: Path, backbone: Backbone) -> None:
    def cameras(paths: object) -> list[GivenCamera | None]:
        one = GivenCamera(
            name="0.png", world_to_camera=np.eye(4)[:3], intrinsics=np.diag([80.0, 80.0, 1.0])
        )
        return [one, one, one]

    with pytest.raises(InputError, match=r"shared_camera=True; .*: leave out one of the two"):
        reconstruct(photos, backbone, size=56, cameras=cameras, shared_camera=True)


@pytest.mark.parametrize(
    ("name", "asked"),
    [("shared_camera", {"shared_camera": True}), ("refine", {"refine": Refinement()})],
)
def test_two_focal_lengths_are_refused_beside_what_takes_pixels_for_square(
    photos: Path, backbone: Backbone, name: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=rf"square_pixels=False with {name}; .*: leave one"):
        reconstruct(photos, backbone, size=56, square_pixels=False, **asked)
