"""A quick look at how good the network is, on validation scenes."""

from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from recon_backbones.da3.model import DA3Net
from recon_eval.data.scene import Scene
from recon_eval.data.synthetic import SyntheticScenes

from .objective import normalise
from .targets import make_targets


@torch.inference_mode()
def check(network: DA3Net, *, size: int, scenes: int = 24, views: int = 4) -> dict[str, float]:
    """AbsRel (one median scale a scene), median rotation and direction errors, AUC@30."""
    dtype = next(network.parameters()).dtype
    absrel, rotations, directions = [], [], []
    for scene in _scenes(scenes, views, size):
        assert scene.depth is not None and scene.world_to_camera is not None
        assert scene.intrinsics is not None
        output = network(normalise(scene.images[None]).to(dtype), reference="first")
        depth = output.depth[0]
        ratio = (scene.depth / depth).median()
        absrel.append(float(((depth * ratio - scene.depth).abs() / scene.depth).mean()))
        truth = make_targets(
            scene.depth[None], scene.world_to_camera[None], scene.intrinsics[None]
        ).pose[0]
        for i, j in combinations(range(views), 2):
            turn, direction = _pair_errors(output.pose_encoding[0], truth, i, j)
            rotations.append(turn)
            directions.append(direction)
    worst = torch.tensor([max(pair) for pair in zip(rotations, directions, strict=True)])
    return {
        "absrel": sum(absrel) / len(absrel),
        "rotation": float(torch.tensor(rotations).median()),
        "direction": float(torch.tensor(directions).median()),
        "auc30": float((1 - worst / 30).clamp_min(0).mean()),
    }


@cache
def _scenes(count: int, views: int, size: int) -> list[Scene]:
    return list(SyntheticScenes("validation", count=count, views=views, height=size, width=size))


def _pair_errors(pose: Tensor, truth: Tensor, i: int, j: int) -> tuple[float, float]:
    """Angles in degrees between predicted and true relative rotation and direction."""
    (r, t), (r_true, t_true) = (_relative(p, i, j) for p in (pose.double(), truth.double()))
    cosine = ((r.T @ r_true).trace() - 1) / 2
    direction = torch.nn.functional.cosine_similarity(t, t_true, dim=0)
    angles = torch.stack([cosine, direction]).clamp(-1, 1).acos().rad2deg()
    return float(angles[0]), float(angles[1])


def _relative(pose: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
    first, second = _rotation(pose[i, 3:7]), _rotation(pose[j, 3:7])
    return first.T @ second, first.T @ (pose[j, :3] - pose[i, :3])


def _rotation(quaternion: Tensor) -> Tensor:
    """Rotation matrix of a quaternion xyzw of any length."""
    x, y, z, w = quaternion / quaternion.norm()
    return torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]),
            torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]),
            torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]),
        ]
    )
