"""VGGT equals upstream on every parity case: 3e-5, poses 2e-5, the tracker 5e-4."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from recon_backbones.blocks.dpt import add_position
from recon_backbones.blocks.rope import rotary_table, rotate
from recon_backbones.geometry.cameras import (
    decode_pose,
    encode_pose,
    unproject,
)
from recon_backbones.geometry.quaternions import quaternion_from_rotation, rotation_from_quaternion

from .cases import FIXTURES, compare, error, parametrise
from .vggt_cases import backbone

UNITS = load_file(FIXTURES / "vggt-tiny" / "units.safetensors")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per case of this repository and of `--parity DIR`."""
    parametrise(metafunc, "vggt")


def record(module: nn.Module, found: dict[str, Tensor], name: str) -> None:
    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found.setdefault(name, output)

    module.register_forward_hook(keep)


@torch.no_grad()
def test_case_equals_upstream(case: tuple[Path, str]) -> None:
    directory, name = case
    net = backbone(directory)
    file = load_file(directory / f"case_{name}.safetensors")
    images = file["in.images"]
    found: dict[str, Tensor] = {}
    record(net.aggregator.patch_embed, found, "dino_x_norm_patchtokens")
    record(net.aggregator.frame_blocks[0], found, "frame_block0_out")
    record(net.aggregator.global_blocks[0], found, "global_block0_out")
    out = net.internals(images, heads=("depth", "points"))
    size = (images.shape[-2], images.shape[-1])
    world_to_camera, intrinsics = decode_pose(out.pose_encodings[-1], size)
    assert out.points is not None and out.points_conf is not None
    found |= {f"pose_enc.{i}": encoding for i, encoding in enumerate(out.pose_encodings)}
    found |= {
        "extrinsics": world_to_camera,
        "intrinsics": intrinsics,
        "depth": out.depth[..., None],
        "depth_conf": out.depth_conf,
        "world_points": out.points,
        "world_points_conf": out.points_conf,
        "points_from_depth": unproject(out.depth, world_to_camera, intrinsics, pixel_center=0.0),
    }
    compare(found, file, needed={"depth", "depth_conf", "pose_enc.3"})


@torch.no_grad()
def test_kept_tokens_equal_upstream(case: tuple[Path, str]) -> None:
    directory, name = case
    net = backbone(directory)
    file = load_file(directory / f"case_{name}.safetensors")
    tokens = net.trunk(file["in.images"])
    pairs = zip(net.config.out_layers, tokens.pairs, strict=True)
    found = {
        f"aggregated_tokens.{i}": torch.cat((pair.frame, pair.spread), dim=-1) for i, pair in pairs
    }
    compare(found, file, needed=set())


@torch.no_grad()
def test_tracks_equal_upstream(case: tuple[Path, str]) -> None:
    directory, name = case
    net = backbone(directory)
    file = load_file(directory / f"case_{name}.safetensors")
    if "in.query_points" not in file:
        return
    found: dict[str, Tensor] = {}

    def keep(_module: nn.Module, inputs: Any) -> None:
        found["features"] = inputs[0]

    net.track_head.tracker.register_forward_pre_hook(keep)
    tracks = net.track(file["in.images"], file["in.query_points"])
    features = found["features"][..., ::2, ::2]
    assert error(features, file["out.track_feature_maps_stride2"]) < 3e-5
    for i, track in enumerate(tracks.passes):
        assert error(track, file[f"out.track.{i}"]) < 5e-4
    assert error(tracks.visibility, file["out.vis"]) < 5e-4
    assert error(tracks.confidence, file["out.track_conf"]) < 5e-4


def test_pose_encodings_equal_upstream() -> None:
    height, width = UNITS["pose.hw"].tolist()
    transform, k = decode_pose(UNITS["pose.enc"], (height, width))
    assert error(transform, UNITS["pose.extrinsics"]) < 2e-6
    assert error(k, UNITS["pose.intrinsics"]) < 2e-6
    again = encode_pose(transform, k, (height, width))
    assert error(again, UNITS["pose.enc_roundtrip"]) < 2e-6


def test_quaternions_equal_upstream() -> None:
    rotation = rotation_from_quaternion(UNITS["quat.in"])
    assert error(rotation, UNITS["quat.R"]) < 2e-6
    assert error(quaternion_from_rotation(rotation), UNITS["quat.back"]) < 2e-6


def test_rotation_equals_upstream() -> None:
    x, positions = UNITS["rope.in"], UNITS["rope.pos"]
    for sample, at, expected in zip(x, positions, UNITS["rope.out"], strict=True):
        table = rotary_table(at, x.shape[-1], base=100.0, dtype=torch.float32)
        assert error(rotate(sample[None], table)[0], expected) < 2e-6


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_sincos_map_equals_upstream(memory: torch.memory_format) -> None:
    expected = UNITS["uv.embed_c16"]
    empty = torch.zeros(1, 16, 8, 10).contiguous(memory_format=memory)
    found = add_position(empty, 1.25, gain=1.0)
    assert found is empty
    assert error(found[0].permute(1, 2, 0), expected) < 3e-6


def test_unprojection_equals_upstream() -> None:
    depth, w2c, k = (UNITS[f"unproj.{n}"] for n in ("depth", "extrinsics", "intrinsics"))
    assert error(unproject(depth[..., 0], w2c, k, pixel_center=0.0), UNITS["unproj.points"]) < 2e-6
