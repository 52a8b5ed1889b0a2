"""What every backbone returns: depth and cameras in one convention."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import unproject


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Depth and cameras of every view, in one world frame and one unit.

    `depth` is z-depth (not metric unless the backbone says so), `depth_conf` at least 1 and higher
    where surer. `world_to_camera` is [R | t], OpenCV; `intrinsics` are in pixels of the images that
    the network saw. `points` are world points of a head of their own. `rays` hold direction and
    origin in the world at a lower resolution. `sky` marks pixels without surface.
    """

    depth: Float[Tensor, "b v y x"]
    depth_conf: Float[Tensor, "b v y x"]
    world_to_camera: Float[Tensor, "b v 3 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    points: Float[Tensor, "b v y x 3"] | None = None
    points_conf: Float[Tensor, "b v y x"] | None = None
    rays: Float[Tensor, "b v Y X 6"] | None = None
    rays_conf: Float[Tensor, "b v Y X"] | None = None

    def to(self, target: torch.device | torch.dtype | str) -> "Prediction":
        """Move or cast every tensor."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            moved[field.name] = None if tensor is None else tensor.to(target)
        return Prediction(**moved)

    def unproject(self) -> Float[Tensor, "b v y x 3"]:
        """World points of every pixel, from depth and cameras."""
        return unproject(self.depth, self.world_to_camera, self.intrinsics)
