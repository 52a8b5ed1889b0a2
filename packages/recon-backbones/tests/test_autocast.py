"""Cameras and points keep their precision where a caller runs everything in 16 bits."""

import pytest
import torch
from torch import Tensor

from recon_backbones import Prediction
from recon_backbones.da3 import DepthAnything3
from recon_backbones.geometry.cameras import decode_pose, invert_rigid

from .short import short

IMAGES = torch.rand(1, 3, 3, 28, 42, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def backbone() -> DepthAnything3:
    made = short("da3-tiny")
    assert isinstance(made, DepthAnything3)
    return made


def cameras() -> tuple[Tensor, Tensor]:
    """Three that look ahead, some meters off; what they see is 42 x 28 pixels."""
    poses = torch.eye(4)[:3].repeat(1, 3, 1, 1)
    poses[0, :, :, 3] = torch.tensor([[0.0, 0, 0], [1.2345678, 0.1, 0], [-2.3456789, 0, 0.3]])
    lens = torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]])
    return poses, lens.expand(1, 3, 3, 3)


@torch.no_grad()
def test_found_cameras_are_what_the_network_says(backbone: DepthAnything3) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoding = backbone.internals(IMAGES).pose_encoding
        found = backbone(IMAGES).world_to_camera
    camera_to_world, _ = decode_pose(encoding, (28, 42), tan_floor=1e-6)
    assert torch.equal(found, invert_rigid(camera_to_world))


@torch.no_grad()
def test_given_cameras_are_encoded_as_they_are(backbone: DepthAnything3) -> None:
    seen: list[Tensor] = []
    hook = backbone.model.cam_enc.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    poses, lenses = cameras()
    for sixteen_bits in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=sixteen_bits):
            backbone(IMAGES, world_to_camera=poses, intrinsics=lenses)
    hook.remove()
    assert torch.equal(*seen)


def test_points_lie_where_depth_and_cameras_put_them() -> None:
    poses, lenses = cameras()
    ones = torch.ones(1, 3, 28, 42)
    made = Prediction(depth=ones, depth_conf=ones, world_to_camera=poses, intrinsics=lenses)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = made.unproject()
    assert torch.equal(cast, made.unproject())
