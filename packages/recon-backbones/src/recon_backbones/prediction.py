"""What every backbone returns: depth and cameras in one convention."""

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .cameras import unproject


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Depth and cameras of every view, in one world frame and one unit.

    `depth` is z-depth (not metric unless the backbone says so), `depth_conf` at least 1 and higher
    where surer. `world_to_camera` is [R | t], OpenCV; `intrinsics` are in pixels of the images that
    the network saw. `points` are world points of a head of their own. `rays` hold direction and
    origin in the world at a lower resolution.
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
        """World points of every pixel centre, from depth and cameras."""
        return unproject(self.depth, self.world_to_camera, self.intrinsics)

    def confident(self, *, drop: float = 0.4) -> Bool[Tensor, "b v y x"]:
        """Pixels whose confidence is above the `drop` quantile of their scene.

        Raises ValueError if `drop` is not in [0, 1).
        """
        if not 0 <= drop < 1:
            raise ValueError(f"drop {drop} must be at least 0 and below 1")
        flat = self.depth_conf.flatten(1).sort(dim=1).values
        bound = flat[:, int(drop * flat.shape[1])]
        return self.depth_conf >= bound[:, None, None, None]

    def edges(self, *, relative: float = 0.05) -> Bool[Tensor, "b v y x"]:
        """Pixels where depth jumps: it varies by more than `relative` within a 3x3 window.

        Raises ValueError if `relative` is not positive.
        """
        if relative <= 0:
            raise ValueError(f"relative {relative} must be positive")
        high = F.max_pool2d(self.depth, 3, stride=1, padding=1)
        low = -F.max_pool2d(-self.depth, 3, stride=1, padding=1)
        return high > low * (1 + relative)
