"""Depth Anything 3 equals upstream on every parity case, within 3e-5 (pose encodings 2e-5)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recon_backbones.da3.reference import leading_order, take_views
from recon_backbones.geometry.cameras import decode_pose, encode_pose, invert_rigid

from .cases import compare, error, parametrise
from .da3_cases import network


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per case of this repository and of `--parity DIR`."""
    parametrise(metafunc, "da3")


@torch.no_grad()
def test_case_equals_upstream(case: tuple[Path, str]) -> None:
    directory, name = case
    net, config = network(directory)
    file = load_file(directory / f"case_{name}.safetensors")
    images = file["in.x"]
    posed = {}
    if "in.extrinsics" in file:
        posed["world_to_camera"] = file["in.extrinsics"][..., :3, :]
        posed["intrinsics"] = file["in.intrinsics"]
    heads = ("depth", "rays", "gaussians") if hasattr(net, "gs_head") else ("depth", "rays")
    layers = tuple(config["cases"][name].get("feat", ()))
    out = net(images, heads=heads, features=layers, **posed)
    size = (images.shape[-2], images.shape[-1])
    camera_to_world, intrinsics = decode_pose(out.pose_encoding, size, tan_floor=1e-6)
    found = {
        "depth": out.depth,
        "depth_conf": out.depth_conf,
        "ray": out.rays,
        "ray_conf": out.rays_conf,
        "pose_enc": out.pose_encoding,
        "extrinsics": invert_rigid(camera_to_world),
        "intrinsics": intrinsics,
        "feats.3.cam": out.camera_features,
    }
    for layer, tokens in out.features.items():
        # Upstream leaves these in the order of the network; ours are in the order of the input.
        if layer >= config["alt_start"] - 1 and images.shape[1] >= 3 and not posed:
            tokens = take_views(tokens, leading_order(out.reference, images.shape[1]))
        expected = file[f"out.aux.{layer}"]
        found[f"aux.{layer}"] = tokens.reshape(expected.shape)
    if out.gaussians is not None and "out.raw_gs_stride4" in file:
        found["raw_gs_stride4"] = out.gaussians.raw[:, :, ::4, ::4]
        found["raw_gs_conf"] = out.gaussians.opacity[:, :, ::2, ::2]
    compare(found, file, needed={"depth", "depth_conf", "pose_enc"})
    if "out.ref_idx" in file:
        assert torch.equal(out.reference, file["out.ref_idx"])


@torch.no_grad()
def test_what_passes_between_the_stages_equals_upstream(case: tuple[Path, str]) -> None:
    directory, name = case
    net, _ = network(directory)
    file = load_file(directory / f"case_{name}.safetensors")
    images = file["in.x"]
    found: dict[str, Tensor] = {}
    first = net.backbone.pretrained.blocks[0]
    first.register_forward_hook(lambda _m, _i, out: found.update(block0_out=out))
    token = None
    if "in.extrinsics" in file:
        camera_to_world = invert_rigid(file["in.extrinsics"][..., :3, :])
        size = (images.shape[-2], images.shape[-1])
        token = net.cam_enc(encode_pose(camera_to_world, file["in.intrinsics"], size))
        found["cam_token"] = token
    tokens = net.backbone.pretrained(images, camera_tokens=token)
    rows = torch.arange(images.shape[0] * images.shape[1])
    for i in range(4):
        patches = net._level(tokens, i, rows)
        found[f"feats.{i}.patch"] = patches.reshape(*images.shape[:2], *patches.shape[1:])
    compare(found, file, needed=set())


@torch.no_grad()
@pytest.mark.parametrize("rule", ["first", "middle"])
def test_other_reference_rules_equal_upstream(case: tuple[Path, str], rule: Any) -> None:
    directory, name = case
    file = load_file(directory / f"case_{name}.safetensors")
    out = network(directory)[0](file["in.x"], reference=rule)
    assert torch.equal(out.reference, file[f"out.{rule}.ref_idx"])
    assert error(out.depth[..., ::4, ::4], file[f"out.{rule}.depth"]) < 3e-5
    assert error(out.pose_encoding, file[f"out.{rule}.pose_enc"]) < 2e-5
