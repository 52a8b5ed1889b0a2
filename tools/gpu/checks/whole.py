"""The bundled student as it is deployed on this device, against the CPU in float32."""

from collections.abc import Callable
from functools import partial

import torch

from gpu.setting import Setting
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy
from lite3r.student.recipes import by_name
from recon_backbones import load_backbone

Check = Callable[[], dict[str, float]]


def checks(setting: Setting) -> dict[str, Check]:
    """One for each recipe; a rehearsal has no room for them in Triton's interpreter."""
    if setting.rehearse:
        return {}
    return {f"student, {name}": partial(student, name) for name in ("sparse_only", "balanced")}


def student(name: str) -> dict[str, float]:
    """The median change of depth."""
    images = torch.rand(1, 8, 3, 224, 224)
    light = lighten(load_backbone("da3-tiny", weights="bundled"), by_name(name))
    with torch.inference_mode():
        expected = light.backbone(images, reference="first").depth
    light.backbone.cuda()
    network = deploy(light).backbone
    with torch.inference_mode():
        found = network(images.cuda(), reference="first").depth.float().cpu()
    return {"error": float((found / expected - 1).abs().median()), "allowed": 0.05}
