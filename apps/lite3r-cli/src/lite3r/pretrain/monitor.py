"""A quick look at how good the network is, on validation scenes."""

from functools import cache
from statistics import fmean

import torch

from recon_backbones.da3.model import DA3Net
from recon_backbones.geometry.cameras import decode_pose, invert_rigid
from recon_eval import depth, pose
from recon_eval.data import Scene
from recon_eval.synthetic import SyntheticScenes

from .objective import normalise


@torch.inference_mode()
def check(network: DA3Net, *, size: int, scenes: int = 24, views: int = 4) -> dict[str, float]:
    """AbsRel (one median scale a scene), median rotation and direction errors, AUC@30.

    Means over scenes; angles in degrees.
    """
    found = [_figures(network, scene) for scene in _scenes(scenes, views, size)]
    return {name: fmean(figures[name] for figures in found) for name in found[0]}


def _figures(network: DA3Net, scene: Scene) -> dict[str, float]:
    assert scene.depth is not None and scene.world_to_camera is not None
    dtype = next(network.parameters()).dtype
    output = network(normalise(scene.images[None]).to(dtype), reference="first")
    height, width = scene.images.shape[-2:]
    camera_to_world, _ = decode_pose(output.pose_encoding[0].float(), (height, width))
    angles = pose.evaluate(invert_rigid(camera_to_world), scene.world_to_camera).numbers()
    return {
        "absrel": depth.evaluate(output.depth[0].float(), scene.depth, scene.valid).numbers()[
            "abs_rel"
        ],
        "rotation": angles["rotation_median_degrees"],
        "direction": angles["direction_median_degrees"],
        "auc30": angles["auc@30"],
    }


@cache
def _scenes(count: int, views: int, size: int) -> list[Scene]:
    return list(SyntheticScenes("validation", count=count, views=views, height=size, width=size))
