"""Objectives that compare cameras."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from distill.objectives.objective import FieldObjective
from distill.observe.observation import Observation
from distill.record.checks import check_tensor


@dataclass(frozen=True, kw_only=True)
class Pose(FieldObjective):
    """Match the teacher's poses relative to its first view.

    Rotations differ by the squared chord |R - R'|^2 / 4 = 1 - cos(angle); translations by the
    squared distance over the teacher's mean squared baseline. Neither depends on the world
    frame, and both have a gradient of zero where they agree.

    - `field`: output with `world_to_camera`, `b v 3 4`, OpenCV, two views at least.
    - `weight`: factor in the total loss.
    - `name`: name in logs.
    """

    field: str = "world_to_camera"
    name: str = "pose"

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the mean over the views but the first."""
        return pose_difference(*self.both(seen))


@dataclass(frozen=True, kw_only=True)
class Intrinsics(FieldObjective):
    """Match the logarithm of the teacher's focal lengths, in the mean squared difference.

    - `field`: output with `intrinsics`, `b v 3 3`, in pixels.
    - `weight`: factor in the total loss.
    - `name`: name in logs.
    """

    field: str = "intrinsics"
    name: str = "intrinsics"

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the mean over views and axes."""
        lenses = [check_tensor(self.field, k, "b v 3 3") for k in self.both(seen)]
        logs = [k.diagonal(dim1=-2, dim2=-1)[..., :2].log() for k in lenses]
        return (logs[0] - logs[1]).square().mean()


def relative_to_first(world_to_camera: Float[Tensor, "b v 3 4"]) -> Float[Tensor, "b v 3 4"]:
    """Return the transforms from the first camera to each."""
    rotation, translation = world_to_camera[..., :3], world_to_camera[..., 3:]
    relative = rotation @ rotation[:, :1].mT
    return torch.cat([relative, translation - relative @ translation[:, :1]], dim=-1)


def pose_difference(
    student: Float[Tensor, "b v 3 4"], teacher: Float[Tensor, "b v 3 4"]
) -> Float[Tensor, ""]:
    """Return the mean difference of poses relative to the first view, see `Pose`.

    Raises ValueError if there is only one view, or the cameras are not `b v 3 4`.
    """
    for poses in (student, teacher):
        check_tensor("world_to_camera", poses, "b v 3 4")
    if student.shape[1] < 2:
        raise ValueError(
            f"views={student.shape[1]}; relative poses need two views at least: give more views, "
            "or leave Pose out"
        )
    one, other = (relative_to_first(poses)[:, 1:] for poses in (student, teacher))
    chord = (one[..., :3] - other[..., :3]).square().sum((-1, -2)) / 4
    distance = (one[..., 3] - other[..., 3]).square().sum(-1)
    baseline = other[..., 3].square().sum(-1).mean(1, keepdim=True)
    tiny = torch.finfo(baseline.dtype).tiny
    return (chord + distance / baseline.clamp_min(tiny)).mean()
