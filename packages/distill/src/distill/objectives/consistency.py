"""Do the views of a scene agree on where its surfaces are?"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from distill.objectives.objective import Objective
from distill.observe.observation import Observation
from distill.observe.reading import Reading

SMALLEST_DEPTH = 1e-6


@dataclass(frozen=True, kw_only=True)
class Consistency(Objective):
    """Match, or remove, the disagreement between views that reprojection shows.

    A pixel of view i is lifted by its depth and seen from view j: the logarithm of its depth
    there, minus that of the depth that view j itself states, is the disagreement. Only pixels
    count that land inside view j and that the teacher's own geometry holds for visible there.

    Args:
        aim: "teacher" asks for the teacher's disagreement (zero where student is teacher),
            "zero" asks for none.
        neighbours: Each view is compared with this many views after it, cyclically.
        stride: Every how many pixels, along both axes.
        visible: Largest disagreement of the teacher, in log depth, of a visible pixel.
        depth: Output with z-depth, `b v y x`.
        world_to_camera: Output with cameras, `b v 3 4`, OpenCV.
        intrinsics: Output with intrinsics, `b v 3 3`; the first pixel's centre is at 0.5.
        weight: Factor in the total loss.
        name: Name in logs.
    """

    aim: Literal["teacher", "zero"] = "teacher"
    neighbours: int = 1
    stride: int = 4
    visible: float = 0.1
    depth: str = "depth"
    world_to_camera: str = "world_to_camera"
    intrinsics: str = "intrinsics"
    name: str = "consistency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1 or self.stride < 1 or not self.visible > 0:
            raise ValueError(
                f"Consistency has neighbours {self.neighbours}, stride {self.stride}, visible "
                f"{self.visible}; the first two must be at least 1, the last positive."
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Depth and cameras."""
        return (self.depth, self.world_to_camera, self.intrinsics)

    def attach(self, reading: Reading) -> None:
        """Ask for depth and cameras."""
        reading.read(self.name, self.fields)

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the mean over visible pixels, zero where there are none."""
        student = [seen.student_fields[name].float() for name in self.fields]
        teacher = [seen.teacher_fields[name].float() for name in self.fields]
        views = student[0].shape[1]
        if views <= self.neighbours:
            raise ValueError(f"{self.neighbours} neighbours need more views than {views}.")
        total, count = student[0].new_zeros(()), 0.0
        for shift in range(1, self.neighbours + 1):
            aims, inside = disagreement(*teacher, shift=shift, stride=self.stride)
            mask = inside & (aims.abs() < self.visible)
            found, _ = disagreement(*student, shift=shift, stride=self.stride)
            wanted = aims if self.aim == "teacher" else torch.zeros_like(aims)
            total = total + torch.where(mask, (found - wanted).abs(), 0.0).sum()
            count += float(mask.sum())
        return total / max(count, 1.0)


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
    seen = points @ other[1][..., :3].transpose(-1, -2) + other[1][..., 3].unsqueeze(-2)
    z = seen[..., 2].clamp_min(SMALLEST_DEPTH)
    pixels = (seen @ other[2].transpose(-1, -2))[..., :2] / z.unsqueeze(-1)
    size = pixels.new_tensor([depth.shape[-1], depth.shape[-2]])
    place = 2 * pixels / size - 1  # from -1 to 1 over the image, edge to edge
    inside = (place.abs() <= 1).all(-1) & (seen[..., 2] > SMALLEST_DEPTH)
    stated = F.grid_sample(
        other[0].flatten(0, 1).unsqueeze(1),
        place.clamp(-2, 2).flatten(0, 1).unsqueeze(1),
        padding_mode="border",
        align_corners=False,
    ).view_as(z)
    return z.log() - stated.clamp_min(SMALLEST_DEPTH).log(), inside


def _lift(depth: Tensor, world_to_camera: Tensor, intrinsics: Tensor, stride: int) -> Tensor:
    """World points of every `stride`th pixel, `b v p 3`."""
    y, x = (torch.arange(0, n, stride, device=depth.device) for n in depth.shape[-2:])
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], -1).flatten(0, 1)
    rays = pixels.to(depth) @ torch.linalg.inv(intrinsics).transpose(-1, -2)
    local = rays * depth[..., ::stride, ::stride].flatten(-2).unsqueeze(-1)
    return (local - world_to_camera[..., 3].unsqueeze(-2)) @ world_to_camera[..., :3]
