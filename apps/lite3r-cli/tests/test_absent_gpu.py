"""The deployed student on a GPU that is not here: nothing is read, nothing lies on two devices."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

import sla_kernels
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy
from lite3r.student.recipes import Recipe, balanced, paper, sparse_only
from recon_backbones import Backbone, load_backbone

from .absent_gpu import AbsentGpu, gpu

__all__ = ["gpu"]

FINE: dict[str, Any] = {"keep": 4, "opened": 4, "block": (16, 4), "summary": (4, 16), "axes": 4}
FINE["rounding"] = "nearest"
ROWS = {"choose_rows", "halve_tokens", "summary_attention_forward"}
CASES = {
    "FP8": ("da3-tiny", replace(balanced(), **FINE), ROWS),
    "FP8 of VGGT": ("vggt-tiny", replace(balanced(), **FINE), ROWS),
    "in meters": ("da3nested-tiny", replace(sparse_only(), **FINE), ROWS),
    "blocks": ("da3-tiny", paper(), {"select_blocks", "sla_attention_forward"}),
}
RARER = ("in meters", "blocks")


def deployed(gpu: AbsentGpu, name: str, recipe: Recipe) -> Backbone:
    """A student put together on the CPU and deployed on the GPU, its attention choosing always."""
    teacher = load_backbone(name, weights="random")
    student = lighten(teacher, recipe, calibrate=torch.rand(1, 2, 3, 28, 28))
    gpu.put(student.backbone)
    with gpu.mode:
        made = deploy(student)
    assert made.deployment is not None
    assert made.deployment.backend == ("none" if recipe.fp8 == "none" else "scaled_mm")
    assert made.deployment.precision == "bfloat16"
    sla_kernels.attend_all_below(made.backbone, 0)
    return made.backbone


@pytest.mark.parametrize(
    ("name", "recipe", "operators"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.nightly] if name in RARER else [])
        for name, case in CASES.items()
    ],
)
def test_a_deployed_student_neither_waits_nor_mixes_devices(
    gpu: AbsentGpu, name: str, recipe: Recipe, operators: set[str]
) -> None:
    network = deployed(gpu, name, recipe)
    images = gpu.empty(1, 4, 3, 112, 168)
    with gpu.running():
        network(images, reference="first")  # plans, on the CPU, what its lengths need
    launches = gpu.kernel.launches
    with gpu.running() as found:
        depth = network(images, reference="first").depth
    assert (depth.device.type, tuple(depth.shape)) == ("cuda", (1, 4, 112, 168))
    assert not found.elsewhere
    assert operators <= found.ours
    assert (launches > 0) == (recipe.fp8 != "none")
    assert gpu.kernel.launches == 2 * launches


FAULTS: dict[str, tuple[Callable[[Tensor], Any], type[Exception]]] = {
    "reads a value": (lambda x: x.sum().item(), DataDependentOutputException),
    "decides by a value": (lambda x: bool((x > 0).any()), DataDependentOutputException),
    "adds the host's": (lambda x: x + torch.ones(3), RuntimeError),
}


@pytest.mark.parametrize(("fault", "error"), FAULTS.values(), ids=FAULTS)
def test_faults_raise(
    gpu: AbsentGpu, fault: Callable[[Tensor], Any], error: type[Exception]
) -> None:
    x = gpu.empty(3)
    with gpu.running(), pytest.raises(error):
        fault(x)


def test_copies_to_and_from_the_host_are_seen(gpu: AbsentGpu) -> None:
    x = gpu.empty(3)
    with gpu.running() as found:
        x.cpu()
    assert found.elsewhere
    with gpu.running() as found:
        torch.arange(3.0).to(x.device)
    assert found.elsewhere
    with gpu.running() as found:
        (x[1:] + x[None, torch.arange(2, device=x.device)])[0]
    assert not found.elsewhere
