"""Targets know no world frame and no unit; each term of the loss is zero for the truth."""

import math

import pytest
import torch

from recon_backbones.geometry.cameras import encode_pose
from recon_backbones.training import Targets, make_targets, rays
from recon_backbones.training.losses import (
    aspect_term,
    depth_terms,
    pose_term,
    ray_term,
    rotation_term,
)


def wall(
    scale: float = 1.0, turn: torch.Tensor | None = None, *, sky: float | None = None
) -> Targets:
    """A wall at z = 2 seen by two cameras side by side, under a sky of such a depth."""
    depth = torch.full((1, 2, 28, 28), 2.0 * scale)
    valid = torch.ones(1, 2, 28, 28, dtype=torch.bool)
    if sky is not None:
        depth[:, :, :14], valid[:, :, :14] = sky, False
    cameras = torch.eye(4)[:3].repeat(1, 2, 1, 1)
    cameras[0, 1, 0, 3] = -0.2
    if turn is not None:
        cameras = torch.cat([cameras[..., :3] @ turn, scale * cameras[..., 3:]], dim=-1)
    intrinsics = torch.tensor([[28.0, 0, 14], [0, 28.0, 14], [0, 0, 1]]).expand(1, 2, 3, 3)
    return make_targets(depth, cameras, intrinsics, valid)


def test_targets_know_no_world_frame_and_no_unit() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    one, other = wall(), wall(2.5, turn * turn.det())
    torch.testing.assert_close(one.pose, other.pose, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-4, atol=1e-4)
    assert torch.equal(one.matches, other.matches)


@pytest.mark.parametrize("sky", [0.0, math.inf, math.nan])
def test_depth_that_is_not_valid_has_no_say(sky: float) -> None:
    one, other = wall(sky=5.0), wall(sky=sky)
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(other, name)), name


def test_every_term_is_zero_for_the_truth() -> None:
    targets = wall()
    terms = depth_terms(
        targets.depth.log(), torch.ones_like(targets.depth), targets.depth, targets.valid
    )
    assert float(terms["depth"]) == float(terms["gradient"]) == 0
    assert float(pose_term(targets.pose, targets.pose)) == 0
    assert float(ray_term(rays(targets, 4, 4), targets)) == 0


def test_the_rotation_term_is_zero_for_the_truth_and_knows_no_frame() -> None:
    pose = torch.randn(2, 3, 9)
    assert float(rotation_term(pose, pose)) < 1e-3
    other = torch.randn(2, 3, 9)
    assert float(rotation_term(pose, other)) > 0.1


def test_the_aspect_term_is_the_squared_log_of_how_far_pixels_are_from_square() -> None:
    cameras = torch.eye(4)[:3].repeat(1, 1, 1, 1)

    def pose(fx: float, fy: float) -> torch.Tensor:
        lens = torch.tensor([[fx, 0, 21], [0, fy, 14], [0, 0, 1]]).expand(1, 1, 3, 3)
        return encode_pose(cameras, lens, (28, 42))

    square = pose(30.0, 30.0)
    assert float(aspect_term(pose(60.0, 60.0), square)) == pytest.approx(0, abs=1e-10)
    found = float(aspect_term(pose(45.0, 30.0), square))
    assert found == pytest.approx(math.log(1.5) ** 2, rel=1e-4)
