"""The bundled student as it is deployed on this device, against the CPU in float32."""

import copy
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

import sla_kernels
from gpu.setting import Setting
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy
from lite3r.student.recipes import by_name
from lite3r.student.student import Student
from recon_backbones import CapturedBackbone, load_backbone

Check = Callable[[], dict[str, float]]
RECIPES = ("sparse_only", "balanced")


def checks(setting: Setting) -> dict[str, Check]:
    """One for each recipe and form; a rehearsal has no room for them in Triton's interpreter."""
    if setting.rehearse:
        return {}
    forms = {"as deployed": False, "choosing however few tokens": True}
    found: dict[str, Check] = {
        f"student, {name}, {form}": partial(student, name, choosing)
        for name in RECIPES
        for form, choosing in forms.items()
    }
    return found | {"student, captured": captured}


def student(name: str, choosing: bool) -> dict[str, float]:
    """The median change of depth."""
    light, images, expected = on_cpu(name)
    network = on_gpu(light, choosing)
    with torch.inference_mode():
        found = network(images.cuda(), reference="first").depth.float().cpu()
    return {"error": float((found / expected - 1).abs().median()), "allowed": 0.05}


def captured() -> dict[str, float]:
    """A CUDA graph of the deployed student gives its bits."""
    light, images, _ = on_cpu("balanced")
    network, seen = on_gpu(light, choosing=True), images.cuda()
    again = CapturedBackbone(network)
    with torch.inference_mode():
        expected = network(seen, reference="first").depth
        found = [again(seen, reference="first").depth for _ in range(3)]
    assert again.last == "captured", again.last
    return {"error": max(float((x - expected).abs().max()) for x in found), "allowed": 0.0}


@cache
def on_cpu(name: str) -> tuple[Student, Tensor, Tensor]:
    """A student, what it is shown, and the depth that it answers."""
    images = torch.rand(1, 8, 3, 224, 224)
    light = lighten(load_backbone("da3-tiny", weights="bundled"), by_name(name))
    with torch.inference_mode():
        return light, images, light.backbone(images, reference="first").depth


def on_gpu(light: Student, choosing: bool) -> torch.nn.Module:
    """A copy, deployed."""
    there = copy.deepcopy(light)
    there.backbone.cuda()
    network = deploy(there).backbone
    if choosing:
        sla_kernels.attend_all_below(network, 0)
    return network
