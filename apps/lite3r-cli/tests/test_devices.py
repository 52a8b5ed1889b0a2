"""Devices are chosen by what they can do, and what they cannot is said; capabilities are faked."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fp8_qat.layers.linear import QuantizedLinear
from lite3r import Recipe, lighten, load
from lite3r.student import deploy as deploying
from lite3r.student.deploy import PLAIN, export, number_type
from lite3r.student.recipes import paper
from recon_backbones import load_backbone


def capable(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [
        ("cuda", (6, 1), torch.float32),
        ("cuda", (7, 5), torch.float16),
        ("cuda", (8, 0), torch.bfloat16),
        ("cuda", (9, 0), torch.bfloat16),
        ("mps", (0, 0), torch.float16),
    ],
)
def test_auto_is_float16_where_bfloat16_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    capability: tuple[int, int],
    expected: torch.dtype,
) -> None:
    capable(monkeypatch, capability)
    assert number_type("auto", torch.device(device)) == expected
    assert number_type("float32", torch.device(device)) == torch.float32
    assert number_type("float16", torch.device(device)) == torch.float16


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A student as it was trained, and exported."""
    folder = tmp_path_factory.mktemp("students")
    teacher = load_backbone("da3-tiny", weights="random")
    images = torch.rand(1, 2, 3, 56, 56)
    lighten(teacher, Recipe(keep=0.5), calibrate=images).save(folder / "saved")
    export(load(folder / "saved", backend=None), folder / "exported")
    return folder / "saved", folder / "exported"


@pytest.mark.parametrize("which", [0, 1])
def test_where_no_fp8_can_lie_its_values_are_multiplied_back_once(
    folders: tuple[Path, Path], which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(1, 2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"precision": "float32"}
    stored = load(folders[which], backend="weight_only", **options)
    monkeypatch.setattr(deploying, "NO_FP8", ("cpu",))
    plain = load(folders[which], **options)
    assert any(isinstance(m, QuantizedLinear) for m in stored.backbone.modules())
    assert not any(isinstance(m, QuantizedLinear) for m in plain.backbone.modules())
    assert sum(type(m) is nn.Linear for m in plain.backbone.modules()) > 10
    assert plain.deployment is not None and plain.deployment.backend == PLAIN
    assert plain.deployment.layers > 0
    with torch.inference_mode():
        torch.testing.assert_close(plain.backbone(images).depth, stored.backbone(images).depth)
    with pytest.raises(ValueError, match=r"backend=weight_only; .*: leave it out"):
        load(folders[which], backend="weight_only")


def test_a_student_lies_where_its_teacher_does_whatever_device_is_the_default(
    request: pytest.FixtureRequest,
) -> None:
    images = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    teacher = load_backbone("da3-tiny", weights="bundled")
    recipes = (Recipe(keep=0.5), paper())
    wanted = [lighten(teacher, one, calibrate=images[None]).reconstruct(images) for one in recipes]
    request.addfinalizer(lambda: torch.set_default_device(None))
    torch.set_default_device("meta")  # tensors that are made there hold no number
    for recipe, before in zip(recipes, wanted, strict=True):
        student = lighten(teacher, recipe, calibrate=images[None])
        assert torch.equal(student.reconstruct(images).depth, before.depth)
