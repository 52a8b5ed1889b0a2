"""Meters and sky: scales are found where they can be, and refused where they cannot."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon_backbones import Prediction, in_meters, load_backbone, to_metric
from recon_backbones.da3 import da3_tiny
from recon_backbones.da3.single import NestedDepthAnything3, da3metric_tiny
from recon_backbones.metric import fill_sky, masked_quantile

from .test_prediction import prediction


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 50))
def test_the_scale_of_a_scene_is_found_whatever_the_sky_shows(seed: int, scale: float) -> None:
    p = prediction(seed, size=(12, 10))
    canonical = scale * p.depth * 300 / p.intrinsics[0, 0].diagonal()[:2].mean()
    sky = (torch.rand_like(p.depth) < 0.3).double()
    canonical = torch.where(sky > 0, 1e6, canonical)
    metric = to_metric(p, canonical, sky)
    assert metric.metric and metric.sky is sky
    ground = ~metric.in_sky()
    torch.testing.assert_close(metric.depth[ground], scale * p.depth[ground])
    moved = scale * p.world_to_camera[..., 3]
    torch.testing.assert_close(metric.world_to_camera[..., 3], moved)
    far = torch.quantile(metric.depth[ground], 0.99).clamp_max(200)
    torch.testing.assert_close(metric.depth[~ground], far.expand(int((~ground).sum())))
    assert (metric.depth_conf[~ground] == 1).all()


def test_a_scene_of_sky_has_no_scale() -> None:
    p = prediction(0)
    with pytest.raises(ValueError, match="scene 0 shows 0 pixels"):
        to_metric(p, p.depth, torch.ones_like(p.depth))


def test_meters_grow_with_the_focal_length() -> None:
    depth, k = torch.ones(1, 2, 3, 4), torch.eye(3).repeat(1, 2, 1, 1)
    k[0, 0, 0, 0] = k[0, 0, 1, 1] = 600
    k[0, 1, 0, 0], k[0, 1, 1, 1] = 200, 400
    assert in_meters(depth, k).amax((2, 3)).tolist() == [[2.0, 1.0]]
    assert in_meters(depth, k, canonical_focal=600.0).amax((2, 3)).tolist() == [[1.0, 0.5]]


def test_a_nested_network_needs_a_metric_half() -> None:
    unitless = replace(da3metric_tiny(), canonical_focal=None)
    with pytest.raises(ValueError, match="canonical_focal"):
        NestedDepthAnything3("nested", da3_tiny(), unitless)


@given(seed=st.integers(0, 10**6), q=st.floats(0, 1))
def test_masked_quantiles_are_those_of_the_masked_values(seed: int, q: float) -> None:
    torch.manual_seed(seed)
    values = torch.randn(2, 2, 3, 5, dtype=torch.float64)
    mask = torch.rand_like(values) < 0.7
    mask[:, 0, 0, 0] = True
    found = masked_quantile(values, mask, q)
    for value, v, m in zip(found, values, mask, strict=True):
        torch.testing.assert_close(value, torch.quantile(v[m], q))


def test_little_sky_or_little_else_changes_nothing() -> None:
    depth, sky = 1 + torch.rand(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    sky[..., :1] = 1  # eight pixels
    assert torch.equal(fill_sky(depth, sky), depth)
    assert torch.equal(fill_sky(depth, 1 - sky), depth)
    sky[..., :2] = 1
    assert not torch.equal(fill_sky(depth, sky), depth)


@torch.no_grad()
def test_cameras_given_to_a_nested_network_keep_their_unit() -> None:
    nested = load_backbone("da3nested-tiny", weights="random", seed=2)
    given_cameras = prediction(3, views=3).to(torch.float32)
    k = given_cameras.intrinsics.clone()
    k[..., :2, :] *= 8
    out: Prediction = nested(
        torch.rand(1, 3, 3, 56, 70), world_to_camera=given_cameras.world_to_camera, intrinsics=k
    )
    assert torch.equal(out.world_to_camera, given_cameras.world_to_camera)
    assert torch.equal(out.intrinsics, k)
    assert not out.metric and out.sky is not None and (out.depth > 0).all()


def test_a_single_view_network_says_that_it_needs_cameras() -> None:
    mono = load_backbone("da3metric-tiny", weights="random")
    with pytest.raises(ValueError, match=r"internals\(images\)"):
        mono(torch.rand(1, 1, 3, 28, 28))
    seen = mono.internals(torch.rand(1, 2, 3, 28, 42))
    assert seen.depth.shape == seen.sky.shape == (1, 2, 28, 42)


def test_a_metric_prediction_forgets_it_when_scaled() -> None:
    p = replace(prediction(0), metric=True)
    assert not p.scaled(torch.ones(1)).metric
