"""Splats lie where their pixels look, and their colors turn with them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon_backbones import Splats, world_splats
from recon_backbones.da3 import DepthAnything3, da3_tiny
from recon_backbones.geometry.harmonics import basis, rotate_harmonics, rotation_matrix
from recon_backbones.geometry.quaternions import rotation_from_quaternion

from .test_prediction import prediction


def splats(seed: int, scale: float = 1.0) -> Splats:
    p = prediction(seed)
    torch.manual_seed(seed)
    raw = torch.randn(1, 2, 7, 9, 37, dtype=torch.float64)
    raw[..., 36] *= 0.1 * scale
    shifted = p.scaled(torch.tensor([scale], dtype=torch.float64))
    opacity = torch.rand(1, 2, 7, 9, dtype=torch.float64)
    return world_splats(raw, opacity, shifted.depth, shifted.world_to_camera, p.intrinsics)


@given(seed=st.integers(0, 10**6))
def test_color_turns_with_the_splat(seed: int) -> None:
    torch.manual_seed(seed)
    rotation = rotation_from_quaternion(torch.randn(1, 1, 4, dtype=torch.float64))
    harmonics = torch.randn(1, 1, 2, 2, 3, 9, dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    turned = rotate_harmonics(harmonics, rotation)
    before = harmonics @ basis(direction).T
    after = turned @ basis(direction @ rotation[0, 0].T).T
    torch.testing.assert_close(after, before)


@given(seed=st.integers(0, 10**6))
def test_turning_harmonics_keeps_their_length(seed: int) -> None:
    torch.manual_seed(seed)
    matrix = rotation_matrix(rotation_from_quaternion(torch.randn(4, dtype=torch.float64)))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(9, dtype=torch.float64))


def test_the_basis_is_orthonormal_on_the_sphere() -> None:
    direction = torch.nn.functional.normalize(torch.randn(200_000, 3, dtype=torch.float64), dim=-1)
    values = basis(direction)
    product = 4 * torch.pi * values.T @ values / len(values)
    torch.testing.assert_close(product, torch.eye(9).double(), atol=0.03, rtol=0)


@given(seed=st.integers(0, 10**6))
def test_splats_without_offsets_lie_on_their_rays_at_their_distance(seed: int) -> None:
    p = prediction(seed)
    raw = torch.zeros(1, 2, 7, 9, 37, dtype=torch.float64)
    found = world_splats(raw, p.depth_conf / 3, p.depth, p.world_to_camera, p.intrinsics)
    centers = -(p.world_to_camera[..., :3].mT @ p.world_to_camera[..., 3:])[..., 0]
    seen = found.means.unflatten(1, (2, 7, 9)) - centers[:, :, None, None]
    torch.testing.assert_close(seen.norm(dim=-1), p.depth)
    along = p.unproject() - centers[:, :, None, None]
    cosine = torch.nn.functional.cosine_similarity(seen, along, dim=-1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
def test_scaling_splats_is_scaling_the_scene(seed: int, scale: float) -> None:
    a, b = splats(seed).scaled(torch.tensor([scale], dtype=torch.float64)), splats(seed, scale)
    for name in ("means", "scales", "quaternions_wxyz", "harmonics", "opacities"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name))


@torch.no_grad()
def test_a_giants_splats_come_in_the_frame_of_the_prediction() -> None:
    giant = DepthAnything3("giant-tiny", replace(da3_tiny(), gaussian_head=True))
    giant.init_weights()
    images = torch.rand(1, 3, 3, 28, 42)
    assert giant(images).splats is None
    out = giant(images, with_splats=True, head_chunk=2)
    raw = giant.internals(images, heads=("gaussians",)).gaussians
    assert raw is not None and out.splats is not None
    again = world_splats(*raw, out.depth, out.world_to_camera, out.intrinsics)
    torch.testing.assert_close(out.splats.means, again.means)
    assert out.to(torch.float64).splats.means.dtype == torch.float64  # type: ignore[union-attr]
    given_cameras = prediction(1, views=3).to(torch.float32)
    posed = giant(
        images,
        world_to_camera=given_cameras.world_to_camera,
        intrinsics=torch.diag(torch.tensor([10.0, 10, 1])) @ given_cameras.intrinsics,
        with_splats=True,
    )
    centers = -(posed.world_to_camera[..., :3].mT @ posed.world_to_camera[..., 3:])[..., 0]
    distance = (posed.splats.means.unflatten(1, (3, -1)) - centers[:, :, None]).norm(dim=-1)
    ratio = distance / posed.depth.flatten(2)
    assert 0.5 < ratio.median() < 2  # in the unit of the depth that is returned


@torch.no_grad()
def test_a_network_without_the_head_refuses_splats() -> None:
    net = DepthAnything3("plain", replace(da3_tiny(), depth=4, out_layers=(0, 1, 2, 3)))
    with pytest.raises(ValueError, match="gaussians"):
        net(torch.rand(1, 2, 3, 28, 28), with_splats=True)
