"""Predictions: world points, masks, and cameras that are refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recon_backbones import Backbone, Prediction, build_on_meta, load_backbone
from recon_backbones.geometry.cameras import (
    invert_rigid,
)
from recon_backbones.geometry.quaternions import rotation_from_quaternion


def prediction(seed: int, views: int = 2, size: tuple[int, int] = (7, 9)) -> Prediction:
    torch.manual_seed(seed)
    rotation = rotation_from_quaternion(torch.randn(1, views, 4, dtype=torch.float64))
    k = torch.tensor([[8.0, 0, 4.5], [0, 9.0, 3.5], [0, 0, 1]], dtype=torch.float64)
    return Prediction(
        depth=1 + torch.rand(1, views, *size, dtype=torch.float64),
        depth_conf=1 + torch.rand(1, views, *size, dtype=torch.float64),
        world_to_camera=torch.cat((rotation, torch.randn(1, views, 3, 1).double()), dim=-1),
        intrinsics=k.expand(1, views, 3, 3),
    )


@given(seed=st.integers(0, 10**6))
def test_unprojected_points_project_to_their_pixel_centers(seed: int) -> None:
    p = prediction(seed)
    points = p.unproject()
    rotation, shift = p.world_to_camera[..., :3], p.world_to_camera[..., 3]
    seen = torch.einsum("bvij,bvyxj->bvyxi", rotation, points) + shift[:, :, None, None]
    torch.testing.assert_close(seen[..., 2], p.depth)
    pixels = torch.einsum("bvij,bvyxj->bvyxi", p.intrinsics, seen / seen[..., 2:])
    x = (torch.arange(9.0, dtype=torch.float64) + 0.5).expand(1, 2, 7, -1)
    y = (torch.arange(7.0, dtype=torch.float64) + 0.5)[:, None].expand(1, 2, -1, 9)
    torch.testing.assert_close(pixels[..., 0], x)
    torch.testing.assert_close(pixels[..., 1], y)


@given(seed=st.integers(0, 10**6))
def test_inverting_twice_is_the_identity(seed: int) -> None:
    w2c = prediction(seed).world_to_camera
    torch.testing.assert_close(invert_rigid(invert_rigid(w2c)), w2c)


@given(seed=st.integers(0, 10**6), drop=st.floats(0, 0.99))
def test_the_asked_share_of_pixels_is_confident(seed: int, drop: float) -> None:
    mask = prediction(seed).confident(drop=drop)
    assert mask.sum() == mask.numel() - int(drop * mask.numel())


def test_edges_lie_at_the_jump_only() -> None:
    p = prediction(0)
    depth = torch.ones_like(p.depth)
    depth[..., 5:] = 2
    found = Prediction(
        depth=depth,
        depth_conf=p.depth_conf,
        world_to_camera=p.world_to_camera,
        intrinsics=p.intrinsics,
    ).edges(relative=0.1)
    assert found[..., 4:6].all() and not found[..., :4].any() and not found[..., 6:].any()


@pytest.mark.parametrize("bad", [-0.1, 1.0])
def test_masks_refuse_what_makes_no_sense(bad: float) -> None:
    with pytest.raises(ValueError, match="drop"):
        prediction(0).confident(drop=bad)
    with pytest.raises(ValueError, match="relative"):
        prediction(0).edges(relative=-1.0)


def test_casting_reaches_every_tensor() -> None:
    cast = prediction(0).to(torch.float32)
    assert cast.depth.dtype == cast.intrinsics.dtype == torch.float32
    assert cast.points is None


@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_scaling_scales_every_point_and_turns_nothing(seed: int, scale: float) -> None:
    p = prediction(seed)
    rays = torch.randn(1, 2, 3, 4, 6, dtype=torch.float64)
    p = replace(p, points=p.unproject(), rays=rays)
    q = p.scaled(torch.tensor([scale], dtype=torch.float64))
    torch.testing.assert_close(q.unproject(), scale * p.unproject())
    assert q.points is not None and q.rays is not None
    torch.testing.assert_close(q.points, q.unproject())
    torch.testing.assert_close(q.rays, torch.cat((rays[..., :3], scale * rays[..., 3:]), -1))
    assert torch.equal(q.world_to_camera[..., :3], p.world_to_camera[..., :3])
    assert not q.metric


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        prediction(0).scaled(torch.tensor([bad]))


def test_sky_is_seen_or_missing() -> None:
    p = prediction(0)
    with pytest.raises(ValueError, match="sky is missing"):
        p.in_sky()
    sky = torch.linspace(0, 1, p.depth.numel(), dtype=torch.float64).reshape(p.depth.shape)
    assert torch.equal(replace(p, sky=sky).in_sky(), sky >= 0.3)
    assert torch.equal(replace(p, sky=sky).in_sky(least=0.5), sky >= 0.5)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_on_meta("da3-tiny")  # refused before any heavy work, so it needs no weights


def cameras() -> dict[str, Tensor]:
    p = prediction(1, views=3).to(torch.float32)
    return {"world_to_camera": p.world_to_camera, "intrinsics": p.intrinsics}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.pop("intrinsics"), "intrinsics is missing"),
        (lambda c: c.pop("world_to_camera"), "world_to_camera is missing"),
        (lambda c: c.update(world_to_camera=c["world_to_camera"][:, :2]), "shape"),
        (lambda c: c.update(intrinsics=c["intrinsics"][..., :2]), "shape"),
        (lambda c: c["world_to_camera"][..., :3].mul_(1.1), "no rotation"),
        (lambda c: c["world_to_camera"][..., :1].mul_(-1), "no rotation"),
        (lambda c: c["world_to_camera"][..., 3].fill_(float("nan")), "NaN"),
        (lambda c: c.update(intrinsics=-c["intrinsics"]), "focal"),
        (lambda c: c.update(intrinsics=c["intrinsics"].mT), "another last row than 0 0 1"),
    ],
)
def test_cameras_that_break_the_rules_are_refused(
    backbone: Backbone, change: Any, match: str
) -> None:
    given = cameras()
    change(given)
    with pytest.raises(ValueError, match=match):
        backbone(torch.rand(1, 3, 3, 28, 28), **given)


def test_vggt_says_that_it_takes_no_cameras() -> None:
    with pytest.raises(ValueError, match="takes no cameras"):
        build_on_meta("vggt-tiny")(torch.rand(1, 3, 3, 28, 28), **cameras())


@torch.no_grad()
def test_two_posed_views_and_coincident_ones_run() -> None:
    """Where a similarity is not determined, depth still is finite and cameras are the given."""
    backbone = load_backbone("da3-tiny", weights="random")
    given = {name: tensor[:, :2] for name, tensor in cameras().items()}
    for center in (given["world_to_camera"], torch.eye(3, 4).expand(1, 2, 3, 4)):
        given["world_to_camera"] = center
        out = backbone(torch.rand(1, 2, 3, 28, 28), **given)
        assert out.depth.isfinite().all() and (out.depth > 0).all()
        assert torch.equal(out.world_to_camera, center)
