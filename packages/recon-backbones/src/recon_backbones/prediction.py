"""What every backbone returns: depth and cameras in one convention."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from recon_backbones.checks import Axes, is_readable
from recon_backbones.geometry.cameras import unproject
from recon_backbones.geometry.splats import Splats

SKY = 0.3
"""Sky values from which a pixel is taken for sky, where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Depth and cameras of every view, in one world frame and one unit.

    `depth` is z-depth, `depth_conf` at least 1 and higher where surer. `world_to_camera` is
    [R | t], OpenCV; `intrinsics` are in pixels of the images that the network saw. The unit is
    meters if `metric` is true, and else that of the scene. `points` are world points of a head of
    their own. `rays` hold direction and origin in the world at a lower resolution. `sky` is at
    least 0 and grows where sky is seen. `splats` are Gaussians in the world, one a pixel.
    """

    depth: Float[Tensor, "b v y x"]
    depth_conf: Float[Tensor, "b v y x"]
    world_to_camera: Float[Tensor, "b v 3 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    points: Float[Tensor, "b v y x 3"] | None = None
    points_conf: Float[Tensor, "b v y x"] | None = None
    rays: Float[Tensor, "b v Y X 6"] | None = None
    rays_conf: Float[Tensor, "b v Y X"] | None = None
    sky: Float[Tensor, "b v y x"] | None = None
    splats: Splats | None = None
    metric: bool = False

    def to(self, target: torch.device | torch.dtype | str) -> "Prediction":
        """Move or cast every tensor."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = value.to(target) if isinstance(value, (Tensor, Splats)) else value
        return Prediction(**moved)

    def scaled(self, scale: Float[Tensor, " b"]) -> "Prediction":
        """Change the unit of each scene: lengths are multiplied by a positive scale.

        Raises ValueError for a scale that is not positive and finite.
        """
        axes = Axes()
        axes.check(self.depth, "depth", "b v y x")
        axes.check(scale, "scale", "b", one_type=False)
        if is_readable(scale) and not (scale.isfinite() & (scale > 0)).all():
            raise ValueError(
                f"scale={scale.tolist()}; it must be positive and finite: pass 1.0 to change "
                "nothing"
            )
        s = scale.to(self.depth.dtype)[:, None, None, None]
        rays = self.rays
        return replace(
            self,
            depth=self.depth * s,
            world_to_camera=_stretched(self.world_to_camera, s.to(self.world_to_camera.dtype)),
            points=None if self.points is None else self.points * s[..., None],
            rays=None if rays is None else _stretched(rays, s[..., None]),
            splats=None if self.splats is None else self.splats.scaled(scale),
            metric=False,
        )

    def unproject(self) -> Float[Tensor, "b v y x 3"]:
        """World points of every pixel center, from depth and cameras."""
        return unproject(self.depth, self.world_to_camera, self.intrinsics)

    def confident(self, *, drop: float = 0.4) -> Bool[Tensor, "b v y x"]:
        """Pixels whose confidence is above the `drop` quantile of their scene.

        Raises ValueError if `drop` is not in [0, 1).
        """
        if not 0 <= drop < 1:
            raise ValueError(f"drop={drop}; it must be at least 0 and below 1: 0 keeps every pixel")
        flat = self.depth_conf.flatten(1).sort(dim=1).values
        bound = flat[:, int(drop * flat.shape[1])]
        return self.depth_conf >= bound[:, None, None, None]

    def in_sky(self, *, least: float = SKY) -> Bool[Tensor, "b v y x"]:
        """Pixels that show sky, where depth says nothing: `sky` is at least `least`.

        Raises ValueError if the prediction carries no sky.
        """
        if self.sky is None:
            raise ValueError(
                "sky is missing; this backbone sees none: take a mono, metric or nested "
                "Depth Anything 3, or recon_backbones.to_metric"
            )
        return self.sky >= least

    def edges(self, *, relative: float = 0.05) -> Bool[Tensor, "b v y x"]:
        """Pixels where depth jumps: it varies by more than `relative` within a 3x3 window.

        Raises ValueError if `relative` is not positive.
        """
        if relative <= 0:
            raise ValueError(f"relative={relative}; it must be positive: 0.05 is usual")
        high = F.max_pool2d(self.depth, 3, stride=1, padding=1)
        low = -F.max_pool2d(-self.depth, 3, stride=1, padding=1)
        return high > low * (1 + relative)


def _stretched(x: Tensor, scale: Tensor) -> Tensor:
    """Scale what lies behind the first three columns: a translation, or the origin of a ray."""
    return torch.cat((x[..., :3], x[..., 3:] * scale), dim=-1)
