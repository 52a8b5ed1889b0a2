"""A quick look at how good the network is, on validation scenes."""

from functools import cache
from statistics import fmean
from typing import Any

import torch

from recon_backbones.geometry.cameras import decode_pose, invert_rigid
from recon_backbones.training.objective import normalize
from recon_eval import depth, pose
from recon_eval.data import Scene, SyntheticScenes


@torch.inference_mode()
def check(
    network: Any, *, device: torch.device, size: int = 224, scenes: int = 16, views: int = 4
) -> dict[str, float]:
    """AbsRel (one median scale a scene), median rotation and direction errors, AUC@30.

    Means over scenes; angles in degrees.
    """
    found = [_figures(network, scene, device) for scene in _scenes(scenes, views, size)]
    return {name: fmean(figures[name] for figures in found) for name in found[0]}


def _figures(network: Any, scene: Scene, device: torch.device) -> dict[str, float]:
    assert scene.depth is not None and scene.world_to_camera is not None
    dtype = next(network.parameters()).dtype
    images = normalize(scene.images[None]).to(device=device, dtype=dtype)
    output = network(images, reference="first")
    height, width = scene.images.shape[-2:]
    camera_to_world, _ = decode_pose(output.pose_encoding[0].float().cpu(), (height, width))
    angles = pose.evaluate(invert_rigid(camera_to_world), scene.world_to_camera)
    depths = depth.evaluate(output.depth[0].float().cpu(), scene.depth, scene.valid)
    return {
        "absrel": depths.abs_rel,
        "rotation": angles.rotation_median_degrees,
        "direction": angles.direction_median_degrees,
        "auc30": angles.auc[30],
    }


@cache
def _scenes(count: int, views: int, size: int) -> list[Scene]:
    return list(SyntheticScenes("validation", count=count, views=views, height=size, width=size))
