"""Masks drop what they name and nothing else; a known distance makes meters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from recon_backbones import KnownDistance, Masks, Prediction, Reconstruction
from recon_backbones.geometry.pixels import PixelMap
from recon_backbones.photos.prepare import Prepared
from recon_backbones.views.masks import background, keep_pixels, sky
from recon_backbones.views.scale import (
    End,
    check_ends,
    in_known_unit,
    parse_end,
    scale_from_distance,
)

from .rooms import room

LOOSE = {"confidence_percentile": 0.0, "edge_tolerance": 100.0}


def prediction(depth: np.ndarray, confidence: np.ndarray | None = None) -> Prediction:
    values = torch.from_numpy(np.asarray(depth, dtype=np.float32))[None]
    views = values.shape[1]
    sure = torch.ones_like(values) if confidence is None else torch.from_numpy(confidence)[None]
    return Prediction(
        depth=values,
        depth_conf=sure.float(),
        world_to_camera=torch.eye(4)[:3].expand(1, views, 3, 4),
        intrinsics=torch.eye(3).expand(1, views, 3, 3),
    )


def kept(found: Prediction, options: Masks, pictures: np.ndarray | None = None) -> np.ndarray:
    shape = tuple(found.depth[0].shape)
    if pictures is None:
        pictures = np.full((*shape, 3), 120, np.uint8)
    return keep_pixels(found, pictures, np.ones(shape, dtype=bool), options)


@settings(deadline=None, max_examples=30)
@given(percent=st.floats(0, 99), seed=st.integers(0, 1000))
def test_the_least_confident_share_is_dropped_over_all_views(percent: float, seed: int) -> None:
    confidence = np.random.default_rng(seed).permutation(200).reshape(2, 10, 10)
    options = Masks(confidence_percentile=percent, edge_tolerance=100.0)
    found = kept(prediction(np.ones((2, 10, 10)), confidence), options)
    assert found.sum() == 200 - int(percent / 100 * 200)
    assert confidence[found].min() > confidence[~found].max(initial=-1)


def test_padding_and_missing_depth_are_never_kept_nor_counted() -> None:
    """Beside a pixel without depth is an edge."""
    depth = np.ones((1, 6, 4), dtype=np.float32)
    depth[0, 0] = [0, -1, np.nan, np.inf]
    seen = np.ones((1, 6, 4), dtype=bool)
    seen[0, 5] = False
    confidence = np.ones((1, 6, 4), dtype=np.float32)
    confidence[0, 2:5] = 5.0
    found = keep_pixels(
        prediction(depth, confidence),
        np.zeros((1, 6, 4, 3), np.uint8),
        seen,
        Masks(confidence_percentile=40.0, edge_tolerance=1e9),
    )
    assert not found[0, [0, 1, 5]].any()
    assert found[0, 2:5].all()


def test_both_sides_of_a_depth_edge_are_dropped() -> None:
    depth = np.full((1, 6, 8), 1.0)
    depth[..., 4:] = 2.0
    found = kept(prediction(depth), Masks(confidence_percentile=0.0, edge_tolerance=0.1))
    assert found[0].all(axis=0).tolist() == [True] * 3 + [False] * 2 + [True] * 3


@pytest.mark.parametrize(("color", "value"), [("black", 0), ("white", 255)])
def test_a_background_goes_and_the_same_color_inside_the_object_stays(
    color: str, value: int
) -> None:
    image = Image.new("RGB", (60, 60), (value,) * 3)
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 10, 50, 50), fill=(200, 90, 40))
    draw.rectangle((27, 27, 33, 33), fill=(value,) * 3)
    found = background(np.asarray(image), color)
    assert found[0].all()
    assert found[5, 5]
    assert not found[27:34, 27:34].any()
    assert not found[20:40, 14:24].any()
    other = "white" if color == "black" else "black"
    assert not background(np.asarray(image), other).any()


def landscape() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blue sky with a cloud over textured ground with a white wall; depth; and where sky is."""
    rng = np.random.default_rng(0)
    picture = np.zeros((60, 80, 3), np.float32)
    picture[:30] = (110, 160, 230)
    picture[8:16, 20:50] = 235
    picture[30:] = rng.integers(0, 255, (30, 80, 1))
    picture[40:55, 10:30] = 240
    depth = np.full((60, 80), 50.0, np.float32)
    depth[30:] = np.linspace(20, 1, 30)[:, None]
    truth = np.zeros((60, 80), dtype=bool)
    truth[:30] = True
    return picture.astype(np.uint8), depth, truth


def test_sky_and_cloud_go_and_a_white_wall_stays() -> None:
    picture, depth, truth = landscape()
    found = sky(picture, depth)
    inside = np.zeros_like(truth)
    inside[3:26, 3:77] = True
    edge_of_cloud = np.zeros_like(truth)
    edge_of_cloud[4:20, 16:54] = True
    assert found[inside & ~edge_of_cloud].all()
    assert not found[33:].any()


def test_rooms_have_no_sky() -> None:
    scene = room(2, 84, 112)
    pictures = (scene.images.permute(0, 2, 3, 1) * 255).byte().numpy()
    shares = [sky(p, d).mean() for p, d in zip(pictures, scene.depth.numpy(), strict=True)]
    assert max(shares) < 0.3


def test_masks_work_together_and_refuse_to_leave_nothing() -> None:
    picture, depth, _ = landscape()
    found = kept(prediction(depth[None]), Masks(mask_sky=True, **LOOSE), picture[None])
    assert not found[0, 2:7].any()
    assert found[0, 40:55].all()
    black = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"leave no pixel; mask_background alone leaves 0.0%"):
        kept(prediction(np.ones((1, 8, 8))), Masks(mask_background="black", **LOOSE), black)


@pytest.mark.parametrize(
    ("field", "value"),
    [("confidence_percentile", 100.0), ("edge_tolerance", 0.0)],
)
def test_impossible_masks_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}={value}"):
        Masks(**{field: value})


@pytest.fixture(scope="module")
def exact() -> Reconstruction:
    """A true scene in meters, of photos twice the size of the images."""
    scene = room(4, 84, 112)
    half = PixelMap(photo=(168, 224), size=(84, 112), scale_x=0.5, scale_y=0.5)
    batch = Prepared(images=scene.images[None], maps=(half,) * 4)
    lenses = scene.intrinsics.double()
    shape = tuple(scene.depth.shape)
    return Reconstruction(
        photos=("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/1.jpg"),
        root=Path(),
        world_to_camera=scene.world_to_camera.double().numpy(),
        intrinsics=batch.intrinsics_to_photos(lenses[None]).numpy(),
        sizes=batch.sizes,
        images=np.zeros((*shape, 3), np.uint8),
        depth=scene.depth.numpy(),
        confidence=np.ones(shape, np.float32),
        keep=np.ones(shape, bool),
        intrinsics_seen=lenses.numpy(),
        maps=batch.maps,
        unit="meters",
        facts=(("unit", "meters"), ("frame", "the first camera")),
    )


@settings(deadline=None, max_examples=30)
@given(unit=st.floats(0.01, 100))
def test_a_distance_between_cameras_restores_the_scale(exact: Reconstruction, unit: float) -> None:
    known = KnownDistance(first=End(photo="2.jpg"), second=End(photo="3.jpg"), meters=1.0)
    meters = 1 / scale_from_distance(known, exact)  # the true distance
    asked = KnownDistance(first=known.first, second=known.second, meters=meters)
    restored = in_known_unit(exact.scaled(unit), asked)
    np.testing.assert_allclose(restored.depth, exact.depth, rtol=1e-4)
    np.testing.assert_allclose(restored.world_to_camera, exact.world_to_camera, atol=1e-4)
    told = f"meters, from the known distance (times {1 / unit:.4g})"
    assert restored.unit == told
    assert restored.facts == (("unit", told), ("frame", "the first camera"))


def test_a_distance_between_pixels_is_measured_in_the_world(exact: Reconstruction) -> None:
    """From a camera to what its central pixel shows, it is that pixel's depth along the ray."""
    known = KnownDistance(first=End(photo="2.jpg"), second=parse_end("2.jpg:113,85"), meters=1.0)
    assert known.second == End(photo="2.jpg", pixel=(113.0, 85.0))
    found = 1 / scale_from_distance(known, exact)
    depth = float(np.median(exact.depth[1, 41:44, 55:58]))
    assert found == pytest.approx(depth, rel=1e-3)


@pytest.mark.parametrize(
    ("first", "second", "part"),
    [
        ("2.jpg", "9.jpg", r"9.jpg is none of the photos; photos are a/1.jpg"),
        ("2.jpg", "1.jpg", r"1.jpg is the name of several photos"),
        ("2.jpg", "3.jpg:500,10", r"outside of the photo, which has 224 x 168"),
        ("2.jpg", "3.jpg:224,10", r"outside of what the network saw; .* nearer the middle"),
    ],
)
def test_ends_that_do_not_exist_are_refused(
    exact: Reconstruction, first: str, second: str, part: str
) -> None:
    known = KnownDistance.between(first, second, 2.0)
    with pytest.raises(ValueError, match=part):
        check_ends(known, exact.photos, exact.maps)


@pytest.mark.parametrize("meters", [0.0, -1.0, float("nan")])
def test_impossible_distances_are_refused(meters: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        KnownDistance(first=End(photo="a"), second=End(photo="b"), meters=meters)
    with pytest.raises(ValueError, match="one and the same"):
        KnownDistance(first=End(photo="a"), second=End(photo="a"), meters=1.0)
