"""The axes of an order are found on drawn scenes, and travel with the student."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lite3r.student.axes import _drawn, run_on_drawn  # as they are, whatever tests put there
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy, export, load
from recon_backbones import Backbone, weights_digest
from sla_kernels import stored_calibration

from .drawn import IMAGES, content


def test_the_axes_of_an_order_travel_with_the_student(teacher: Backbone, tmp_path: Path) -> None:
    """What is loaded orders tokens as what was saved, with either kind of file."""
    student = lighten(teacher, replace(content(), fp8="rowwise"), calibrate=IMAGES)
    axes = stored_calibration(student.backbone)
    assert {name.rpartition(".")[2] for name in axes} == {"directions", "offsets"}
    assert len(axes) == 8
    assert all(float(one.abs().max()) > 0 for one in axes.values())
    student.save(tmp_path / "saved")
    with torch.no_grad():
        depth = student.backbone(IMAGES).depth
    export(student, tmp_path / "exported")
    for folder in ("saved", "exported"):
        again = load(tmp_path / folder, backend="reference", precision="float32").backbone
        for name, found in stored_calibration(again).items():
            assert torch.equal(found, axes[name]), folder
        with torch.no_grad():
            assert torch.equal(again(IMAGES).depth, depth), folder


def test_axes_stay_in_float32_and_the_teacher_as_it_was(teacher: Backbone) -> None:
    before = weights_digest(teacher)
    student = lighten(teacher, content(), calibrate=IMAGES)
    axes = stored_calibration(student.backbone)
    light = deploy(student, precision="bfloat16").backbone
    for name, found in stored_calibration(light).items():
        assert torch.equal(found, axes[name])
    assert {p.dtype for p in light.parameters()} == {torch.bfloat16}
    assert weights_digest(teacher) == before


def test_drawn_are_three_rooms_and_four_scenes_of_the_world_at_the_size_of_whole_patches(
    teacher: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite3r.student.axes._drawn", _drawn)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(teacher, "forward", lambda images, **_: seen.append(images))
    run_on_drawn(teacher, 30)
    assert [tuple(images.shape) for images in seen] == [(1, 8, 3, 28, 28)] * 3 + [
        (1, 12, 3, 28, 28)
    ] * 4
    assert all(0 <= images.min() < images.max() <= 1 for images in seen)


def test_axes_are_found_on_what_is_given_and_on_drawn_scenes_otherwise(teacher: Backbone) -> None:
    seen = []
    ways: dict[str, Any] = {
        "images": IMAGES,
        "callable": lambda backbone: seen.append(backbone(IMAGES)),
        "drawn": None,
    }
    found = {
        name: next(
            iter(stored_calibration(lighten(teacher, content(), calibrate=how).backbone).values())
        )
        for name, how in ways.items()
    }
    assert len(seen) == 2  # for the axes, and then for what cells understate
    assert torch.equal(found["images"], found["callable"])
    assert not torch.equal(found["images"], found["drawn"])


def test_an_adapter_without_its_axes_is_refused(teacher: Backbone, tmp_path: Path) -> None:
    lighten(teacher, content(), calibrate=IMAGES).save(tmp_path)
    values = load_file(tmp_path / "adapter.safetensors")
    gone = min(values)
    save_file({k: v for k, v in values.items() if k != gone}, tmp_path / "adapter.safetensors")
    with pytest.raises(ValueError, match=rf"1 missing \({gone}\)"):
        load(tmp_path)
