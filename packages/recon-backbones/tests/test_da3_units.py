"""Small parts of Depth Anything 3, and whole inference round them, equal upstream."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from recon_backbones import preprocess, umeyama
from recon_backbones.blocks.patches import imagenet_normalize, resize_positions
from recon_backbones.da3 import DepthAnything3
from recon_backbones.da3.ray_pose import cameras_from_rays
from recon_backbones.da3.reference import leading_order, reference_view, take_views
from recon_backbones.geometry.alignment import robust_umeyama
from recon_backbones.geometry.cameras import (
    decode_pose,
    encode_pose,
    invert_rigid,
    normalize_scene,
)
from recon_backbones.geometry.quaternions import rotation_from_quaternion

from .cases import FIXTURES, error
from .da3_cases import network
from .operators import Operators

ROOT = FIXTURES / "da3-tiny"
UNITS = load_file(ROOT / "units.safetensors")
API = load_file(ROOT / "api.safetensors")


@pytest.fixture(scope="module")
def backbone() -> DepthAnything3:
    net, _ = network(ROOT)
    made = DepthAnything3("da3-parity", net.config)
    made.model = net
    return made.eval()


@pytest.mark.parametrize("grid", [(20, 37), (27, 36), (36, 36), (37, 37), (4, 5)])
def test_position_tables_equal_upstream(grid: tuple[int, int]) -> None:
    resized = resize_positions(UNITS["posembed.param"], grid, by="offset_scale")
    assert error(resized, UNITS[f"posembed.{grid[0]}x{grid[1]}"]) < 1e-6


@pytest.mark.parametrize("rule", ["first", "middle", "saddle_balanced"])
def test_reference_views_equal_upstream(rule: Any) -> None:
    tokens = UNITS["refsel.x"]
    chosen = reference_view(tokens[:, :, 0], rule)
    assert torch.equal(chosen, UNITS[f"refsel.{rule}"])
    reordered = take_views(tokens, leading_order(chosen, tokens.shape[1]))
    assert torch.equal(reordered, UNITS[f"refsel.{rule}.reordered"])


def test_an_unknown_reference_is_refused() -> None:
    rule: Any = "last"
    with pytest.raises((ValueError, TypeError), match="last"):
        reference_view(torch.randn(1, 3, 4), rule)


@given(views=st.integers(1, 9), data=st.data())
def test_the_reference_leads_and_the_others_keep_their_order(views: int, data: Any) -> None:
    leader = data.draw(st.integers(0, views - 1))
    order = leading_order(torch.tensor([leader]), views)[0].tolist()
    assert order == [leader, *(i for i in range(views) if i != leader)]


def test_pose_encodings_equal_upstream() -> None:
    size = (56, 70)
    camera_to_world, intrinsics = decode_pose(UNITS["pose.enc"], size, tan_floor=1e-6)
    assert error(camera_to_world, UNITS["pose.c2w"]) < 2e-6
    assert error(invert_rigid(camera_to_world), UNITS["pose.w2c"]) < 2e-6
    assert error(intrinsics, UNITS["pose.K"]) < 2e-6


@given(seed=st.integers(0, 10**6))
def test_encoding_then_decoding_is_the_identity(seed: int) -> None:
    torch.manual_seed(seed)
    quaternion = torch.randn(2, 3, 4, dtype=torch.float64)
    encoding = torch.cat(
        (torch.randn(2, 3, 3).double(), quaternion, 0.3 + torch.rand(2, 3, 2).double()), -1
    )
    transform, k = decode_pose(encoding, (56, 70))
    again, k_again = decode_pose(encode_pose(transform, k, (56, 70)), (56, 70))
    torch.testing.assert_close(again, transform)
    torch.testing.assert_close(k_again, k)


def test_ray_cameras_equal_upstream() -> None:
    world_to_camera, k = cameras_from_rays(UNITS["raypose.ray"], UNITS["raypose.conf"], (2, 2))
    expected = UNITS["raypose.c2w_like"][:, :, :3]
    assert error(invert_rigid(world_to_camera), expected) < 3e-5
    assert error(torch.stack((k[..., 0, 0], k[..., 1, 1]), -1), UNITS["raypose.focal"]) < 3e-5
    assert error(k[..., :2, 2], UNITS["raypose.pp"]) < 3e-5


@torch.no_grad()
def test_free_inference_equals_upstream(backbone: DepthAnything3) -> None:
    prepared = preprocess([API[f"in.image{i}"].numpy() for i in range(4)], backbone, size=70)
    assert torch.equal(imagenet_normalize(prepared.images[0]), API["free.processed"])
    out = backbone(prepared.images)
    assert error(out.depth[0], API["free.depth"]) < 3e-5
    assert error(out.depth_conf[0], API["free.conf"]) < 3e-5
    assert error(out.world_to_camera[0], API["free.extrinsics"]) < 3e-5
    assert error(out.intrinsics[0], API["free.intrinsics"]) < 3e-5


@torch.no_grad()
def test_posed_inference_equals_upstream(backbone: DepthAnything3) -> None:
    prepared = preprocess([API[f"in.image{i}"].numpy() for i in range(4)], backbone, size=70)
    world_to_camera = API["in.extrinsics"][None, :, :3]
    k = prepared.intrinsics_from_photos(API["in.intrinsics"])
    assert error(k, API["posed_scale.int_processed"]) < 1e-6
    expected = API["posed_scale.ext_normalised"][:, :, :3]
    assert error(normalize_scene(world_to_camera), expected) < 1e-6
    out = backbone(prepared.images, world_to_camera=world_to_camera, intrinsics=k)
    assert error(out.depth[0], API["posed_scale.depth"]) < 3e-5
    assert error(out.depth_conf[0], API["posed_scale.conf"]) < 3e-5
    assert torch.equal(out.world_to_camera, world_to_camera)
    assert torch.equal(out.intrinsics, k)


@pytest.mark.parametrize("views", [1, 2, 5, 6])
def test_given_scenes_have_a_lower_median_distance_of_one(views: int) -> None:
    """By sorting: PyTorch refuses a median with places on CUDA where it must be deterministic."""
    turns = rotation_from_quaternion(torch.randn(2, views, 4))
    cameras = torch.cat((turns, torch.randn(2, views, 3, 1)), dim=-1)
    with Operators() as seen:
        found = normalize_scene(cameras)
    assert "aten.median.dim" not in seen.names and "aten.sort.default" in seen.names
    median = invert_rigid(found)[..., 3].norm(dim=-1).median(dim=1).values
    torch.testing.assert_close(median, torch.full((2,), float(views > 2)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_cameras_of_rays_need_no_decoder(backbone: DepthAnything3) -> None:
    images = torch.rand(1, 2, 3, 56, 70)
    out = backbone(images, cameras="rays")
    assert out.rays is not None and out.rays_conf is not None
    world_to_camera, k = cameras_from_rays(out.rays, out.rays_conf, (56, 70))
    assert torch.equal(out.world_to_camera, world_to_camera)
    assert torch.equal(out.intrinsics, k)


@given(seed=st.integers(0, 10**6), rank=st.integers(0, 3), views=st.integers(2, 14))
def test_alignment_recovers_the_scale_at_every_rank(seed: int, rank: int, views: int) -> None:
    torch.manual_seed(seed)
    rank = min(rank, views - 1)
    source = torch.randn(views, rank).double() @ torch.randn(rank, 3).double() + torch.randn(3)
    rotation = rotation_from_quaternion(torch.randn(4).double())
    target = 2.5 * source @ rotation.T + torch.randn(3)
    assert umeyama(source, target).rank == rank
    for fit in (umeyama(source, target), robust_umeyama(source, target)):
        assert fit.scale.item() == pytest.approx(2.5 if rank else 1.0, rel=1e-6)
        assert torch.linalg.det(fit.rotation).item() == pytest.approx(1)
        moved = fit.scale * source @ fit.rotation.T + fit.translation
        torch.testing.assert_close(moved, target, rtol=1e-6, atol=1e-6)


def test_an_outlying_camera_is_voted_out() -> None:
    source = torch.randn(12, 3, dtype=torch.float64)
    target = 3 * source + torch.tensor([1.0, 2.0, 3.0])
    target[5] += 40
    assert robust_umeyama(source, target).scale.item() == pytest.approx(3, rel=1e-6)
    assert abs(umeyama(source, target).scale.item() - 3) > 0.1


@pytest.mark.parametrize("away", [0.0, 5e6])
@pytest.mark.parametrize(
    ("spread", "rank"), [((9.0, 7, 5), 3), ((9.0, 7, 0), 2), ((9.0, 0, 0), 1), ((0.0, 0, 0), 0)]
)
def test_centers_far_from_the_origin_are_aligned_as_near_it(
    away: float, spread: tuple[float, float, float], rank: int
) -> None:
    """As of cameras in meters of a map, and none of their directions is made up by rounding."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    centers = centers * torch.tensor(spread, dtype=torch.float64)
    turn = rotation_from_quaternion(torch.tensor([0.3, -0.2, 0.5, 0.7], dtype=torch.float64))
    fit = umeyama(centers + away, 0.1 * centers @ turn.T + away)
    assert fit.rank == rank
    assert fit.scale.item() == pytest.approx(0.1 if rank else 1.0, rel=1e-6)
    if rank >= 2:
        torch.testing.assert_close(fit.rotation, turn, atol=1e-6, rtol=0)
