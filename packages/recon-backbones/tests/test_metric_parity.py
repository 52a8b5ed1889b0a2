"""Single-view and nested networks, and splats, equal the public wheel: 3e-5."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recon_backbones import world_splats
from recon_backbones.da3.single import NestedDepthAnything3
from recon_backbones.metric import fill_sky
from recon_backbones.prediction import SKY, Prediction

from .cases import FIXTURES, error, parametrise
from .mono_cases import mono, nested


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per case of this repository and of `--parity DIR`."""
    for model in ("da3mono", "da3nested"):
        parametrise(metafunc, model)


def forward_normalized(
    net: NestedDepthAnything3, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> Prediction:
    """Run a backbone on images that are normalized already, past the checks of its entrance."""
    for module in ("da3.backbone", "da3.single.nested"):
        monkeypatch.setattr(f"recon_backbones.{module}.imagenet_normalize", lambda x: x)
    return net.forward(images)


@torch.no_grad()
def test_depth_and_sky_equal_upstream(da3mono_case: tuple[Path, str]) -> None:
    directory, name = da3mono_case
    file = load_file(directory / f"case_{name}.safetensors")
    depth, sky = mono(directory).model(file["in.x"], head_chunk=4)
    assert (sky < SKY).any() and (sky >= SKY).any()
    assert error(sky, file["out.sky"]) < 3e-5
    assert error(fill_sky(depth, sky), file["out.depth"]) < 3e-5


@torch.no_grad()
def test_metric_scenes_equal_upstream(
    da3nested_case: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, name = da3nested_case
    file = load_file(directory / f"case_{name}.safetensors")
    out = forward_normalized(nested(directory), file["in.x"], monkeypatch)
    assert out.metric
    found = {
        "depth": out.depth,
        "depth_conf": out.depth_conf,
        "extrinsics": out.world_to_camera,
        "intrinsics": out.intrinsics,
    }
    for key, tensor in found.items():
        assert error(tensor, file[f"out.{key}"]) < 3e-5, key


def test_splats_equal_upstream() -> None:
    file = load_file(FIXTURES / "splats" / "units.safetensors")
    inputs = {key.removeprefix("in."): t for key, t in file.items() if key.startswith("in.")}
    splats = world_splats(**inputs)
    assert error(splats.means, file["out.means"]) < 3e-6
    assert error(splats.scales, file["out.scales"]) < 3e-6
    assert error(splats.quaternions_wxyz, file["out.rotations"]) < 3e-5
    assert error(splats.harmonics, file["out.harmonics"]) < 3e-6
    assert torch.equal(splats.opacities, inputs["opacity"].flatten(1))
