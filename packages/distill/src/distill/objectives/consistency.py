"""Do the views of a scene agree on where its surfaces are?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from distill.objectives.objective import Objective
from distill.observe.observation import Observation
from distill.observe.reading import Reading
from distill.record.checks import check_place, check_shape, check_tensor
from distill.record.settings import check_choice, check_number

SMALLEST_DEPTH = 1e-6


@dataclass(frozen=True, kw_only=True)
class Consistency(Objective):
    """Match, or remove, the disagreement between views that reprojection shows.

    A pixel of view i is lifted by its depth and seen from view j: the logarithm of its depth
    there, minus that of the depth that view j itself states, is the disagreement. Only pixels
    count that land inside view j and that the teacher's own geometry holds for visible there.

    - `aim`: "teacher" asks for the teacher's disagreement (zero where student is teacher), "zero"
      asks for none.
    - `neighbors`: each view is compared with this many views after it, cyclically.
    - `stride`: every how many pixels, along both axes.
    - `visible`: largest disagreement of the teacher, in log depth, of a visible pixel.
    - `depth`: output with z-depth, `b v y x`.
    - `world_to_camera`: output with cameras, `b v 3 4`, OpenCV.
    - `intrinsics`: output with intrinsics, `b v 3 3`; the first pixel's center is at 0.5.
    - `weight`: factor in the total loss.
    - `name`: name in logs.
    """

    aim: Literal["teacher", "zero"] = "teacher"
    neighbors: int = 1
    stride: int = 4
    visible: float = 0.1
    depth: str = "depth"
    world_to_camera: str = "world_to_camera"
    intrinsics: str = "intrinsics"
    name: str = "consistency"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("aim", self.aim, ("teacher", "zero"))
        check_number("neighbors", self.neighbors, whole=True)
        check_number("stride", self.stride, whole=True)
        check_number("visible", self.visible)
        if self.neighbors < 1 or self.stride < 1 or not self.visible > 0:
            raise ValueError(
                f"neighbors={self.neighbors}, stride={self.stride}, visible={self.visible}; the "
                "first two must be at least 1, the last positive: give such values"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Depth and cameras."""
        return (self.depth, self.world_to_camera, self.intrinsics)

    def attach(self, reading: Reading) -> None:
        """Ask for depth and cameras."""
        reading.read(self.name, self.fields)

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the mean over visible pixels, zero where there are none.

        Raises ValueError if there are too few views, or the outputs do not fit each other.
        """
        depth = seen.student_fields[self.depth]
        student, teacher = (
            self._checked(fields, depth) for fields in (seen.student_fields, seen.teacher_fields)
        )
        views = student[0].shape[1]
        if views <= self.neighbors:
            raise ValueError(
                f"neighbors={self.neighbors}; the batch needs more views than that, and has "
                f"{views}: lower it, or give more views"
            )
        total, count = student[0].new_zeros(()), 0.0
        for shift in range(1, self.neighbors + 1):
            aims, inside = disagreement(*teacher, shift=shift, stride=self.stride)
            mask = inside & (aims.abs() < self.visible)
            found, _ = disagreement(*student, shift=shift, stride=self.stride)
            wanted = aims if self.aim == "teacher" else torch.zeros_like(aims)
            total = total + torch.where(mask, (found - wanted).abs(), 0.0).sum()
            count += float(mask.sum())
        return total / max(count, 1.0)

    def _checked(self, fields: Mapping[str, Tensor], depth: Tensor) -> list[Tensor]:
        """Depth, cameras and intrinsics of one model, in float32, alike in batch and views."""
        found = []
        for name, shape in zip(self.fields, ("b v y x", "b v 3 4", "b v 3 3"), strict=True):
            value = check_tensor(name, fields[name], shape)
            check_place(name, value, "the student's depth", depth)
            wanted = depth.shape if name == self.depth else (*depth.shape[:2], *value.shape[2:])
            check_shape(name, value, tuple(wanted), f"the student's {self.depth}")
            found.append(value.float())
        return found


def disagreement(
    depth: Float[Tensor, "b v y x"],
    world_to_camera: Float[Tensor, "b v 3 4"],
    intrinsics: Float[Tensor, "b v 3 3"],
    *,
    shift: int,
    stride: int,
) -> tuple[Float[Tensor, "b v p"], Bool[Tensor, "b v p"]]:
    """Return log depth seen from the view `shift` later, minus what that view states.

    The second tensor says which pixels land in front of that view and inside its image.
    """
    points = _lift(depth, world_to_camera, intrinsics, stride)
    other = [tensor.roll(-shift, dims=1) for tensor in (depth, world_to_camera, intrinsics)]
    seen = points @ other[1][..., :3].mT + other[1][..., 3].unsqueeze(-2)
    z = seen[..., 2].clamp_min(SMALLEST_DEPTH)
    pixels = (seen @ other[2].mT)[..., :2] / z.unsqueeze(-1)
    size = pixels.new_tensor([depth.shape[-1], depth.shape[-2]])
    place = 2 * pixels / size - 1  # from -1 to 1 over the image, edge to edge
    inside = (place.abs() <= 1).all(-1) & (seen[..., 2] > SMALLEST_DEPTH)
    stated = F.grid_sample(
        rearrange(other[0], "b v y x -> (b v) 1 y x"),
        rearrange(place.clamp(-2, 2), "b v p xy -> (b v) 1 p xy"),
        padding_mode="border",
        align_corners=False,
    ).view_as(z)
    return z.log() - stated.clamp_min(SMALLEST_DEPTH).log(), inside


def _lift(depth: Tensor, world_to_camera: Tensor, intrinsics: Tensor, stride: int) -> Tensor:
    """World points of every `stride`th pixel, `b v p 3`."""
    y, x = (torch.arange(0, n, stride, device=depth.device) for n in depth.shape[-2:])
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], -1)
    pixels = rearrange(pixels, "y x c -> (y x) c")
    rays = pixels.to(depth) @ torch.linalg.inv(intrinsics).mT
    local = rays * rearrange(depth[..., ::stride, ::stride], "b v y x -> b v (y x) 1")
    return (local - world_to_camera[..., 3].unsqueeze(-2)) @ world_to_camera[..., :3]
