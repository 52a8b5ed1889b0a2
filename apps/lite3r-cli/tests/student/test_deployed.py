"""What is deployed is what was trained, as large as it is said, and nearer than plain codes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lite3r.distillation.rows import weights
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy, export, load
from lite3r.student.files import DEPLOYED
from lite3r.student.recipes import Recipe
from recon_backbones import Backbone, load_backbone

from .drawn import IMAGES, tiled

AGREES = {"reference": 0.0, "scaled_mm": 0.01, "weight_only": 0.02}
"""How far depth may be from that of the form that trains, by backend in float32: median relative
change. "reference" is the same bits; "weight_only" rounds no activation."""


def test_fp8_that_suits_its_inputs_answers_nearer_than_the_nearest_codes(teacher: Backbone) -> None:
    found = {}
    for way, changes in {
        "none": {"fp8": "none"},
        "nearest": {"rounding": "nearest"},
        "inputs": {"rounding": "inputs"},
    }.items():
        recipe = replace(Recipe(), keep=1.0, fp8_stored=(), **changes)
        student = lighten(teacher, recipe, calibrate=IMAGES)
        with torch.no_grad():
            found[way] = deploy(student, precision="float32").backbone(IMAGES).depth
    errors = {way: float((found[way] - found["none"]).abs().mean()) for way in found}
    assert 0 < errors["inputs"] < 0.5 * errors["nearest"]


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("came", [True, False])
def test_the_file_of_a_student_is_as_large_as_it_is_said(
    tmp_path: Path, precision: Any, came: bool
) -> None:
    teacher = load_backbone("da3-tiny", weights="bundled")
    if not came:  # in bfloat16
        with torch.no_grad():
            for weight in teacher.parameters():
                weight.mul_(1 + 2**-12)
    student = lighten(teacher, tiled())
    export(lighten(teacher, tiled()), tmp_path)
    light = deploy(student, precision=precision).backbone
    told = weights(light, teacher=teacher)["disk_mb"]
    assert told == pytest.approx((tmp_path / DEPLOYED).stat().st_size / 1e6, rel=0.03)


def test_the_weights_of_a_deployed_student_take_at_most_three_tenths(teacher: Backbone) -> None:
    whole = weights(teacher)["weights_mb"]
    light = deploy(lighten(teacher, tiled()), precision="bfloat16").backbone
    assert weights(light, teacher=teacher)["weights_mb"] <= 0.3 * whole
    head = light.get_submodule("model.head.resize_layers.0")
    assert head.get_buffer("weight_codes").dtype == torch.float8_e4m3fn


@pytest.mark.parametrize("field", ["fp8_stored", "fp8_include"])
def test_every_matrix_may_be_kept_as_fp8_and_run_in_bfloat16(teacher: Backbone, field: str) -> None:
    """Also those of the camera decoder, which computes in float32."""
    changes: dict[str, Any] = {field: ("*",)}
    student = lighten(teacher, tiled(rounding="nearest", **changes))
    with torch.no_grad():
        trained = student.backbone(IMAGES)
        ran = deploy(student, precision="bfloat16").backbone(IMAGES)
    torch.testing.assert_close(ran.depth, trained.depth, rtol=0.05, atol=0)
    torch.testing.assert_close(ran.world_to_camera, trained.world_to_camera, rtol=0, atol=0.05)


@pytest.mark.parametrize("trainable", ["out", "gains", "lora", "all"])
def test_every_other_matrix_may_be_kept_as_fp8_whatever_trains(
    teacher: Backbone, tmp_path: Path, trainable: Any
) -> None:
    """Layers that train in FP8 are quantized already: "*" means all but these."""
    recipe = tiled(rounding="nearest", fp8_stored=("*",), trainable=trainable)
    student = lighten(teacher, recipe)
    with torch.no_grad():
        depth = student.backbone(IMAGES).depth
    student.save(tmp_path)
    ran = load(tmp_path, precision="float32", backend="reference").backbone
    with torch.no_grad():
        assert torch.equal(ran(IMAGES).depth, depth)


FP8 = ("rowwise", "tensorwise", "mxfp8")


@pytest.mark.multiplies
@pytest.mark.parametrize("fp8", FP8)
def test_the_form_that_trains_is_the_reference_of_what_is_deployed(
    teacher: Backbone, fp8: Any, tmp_path: Path
) -> None:
    """Each backend that runs here is as near as it says; "reference" bit for bit."""
    student = lighten(teacher, tiled(fp8=fp8))
    student.save(tmp_path)
    with torch.no_grad():
        trained = student.backbone(IMAGES).depth
    backends = [b for b in AGREES if b != "scaled_mm" or fp8 in ("rowwise", "tensorwise")]
    assert len(backends) >= 2
    for backend in backends:
        light = load(tmp_path, backend=backend, precision="float32")
        with torch.no_grad():
            change = (light.backbone(IMAGES).depth / trained - 1).abs().median()
        assert change <= AGREES[backend], backend
        assert light.deployment is not None
        assert light.deployment.layers > 0
        told = f"FP8 by {backend} in {light.deployment.layers} layers, float32"
        assert str(light.deployment) == told


def test_auto_multiplies_no_fp8_where_the_device_does_not(
    teacher: Backbone, tmp_path: Path
) -> None:
    lighten(teacher, tiled()).save(tmp_path)
    light = load(tmp_path).deployment
    assert light is not None
    assert light.backend == "weight_only"


def test_a_student_runs_in_bfloat16(teacher: Backbone, tmp_path: Path) -> None:
    lighten(teacher, tiled()).save(tmp_path)
    whole, half = (load(tmp_path, precision=p) for p in ("float32", "bfloat16"))
    one, other = whole.reconstruct(IMAGES[0]), half.reconstruct(IMAGES[0])
    assert torch.median((other.depth.float() / one.depth - 1).abs()) < 0.05
    assert half.deployment is not None
    assert half.deployment.precision == "bfloat16"


def test_a_student_is_deployed_once_and_saved_before(teacher: Backbone, tmp_path: Path) -> None:
    student = deploy(lighten(teacher, tiled()))
    for again in (deploy, lambda s: s.save(tmp_path), lambda s: export(s, tmp_path)):
        with pytest.raises(ValueError, match="deployment=FP8 by weight_only"):
            again(student)
    dense = deploy(lighten(teacher, tiled(fp8="none")), precision="float32")
    assert str(dense.deployment) == "float32"
