"""What every data set yields: one scene, some views of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Views of one static scene, in the frame and units of its data set.

    Cameras are OpenCV (x right, y down, z forward). `intrinsics` are in pixels, and the center of
    the pixel in column x and row y lies at (x + 0.5, y + 0.5): the top left corner of the image is
    (0, 0). Files that put pixel centers at whole numbers (MVSNet's cam.txt) are shifted by half a
    pixel when they are read. `depth` is z-depth; where `valid` is false its value means nothing.
    """

    name: str
    images: Float[Tensor, "v 3 y x"]
    depth: Float[Tensor, "v y x"] | None = None
    valid: Bool[Tensor, "v y x"] | None = None
    world_to_camera: Float[Tensor, "v 3 4"] | None = None
    intrinsics: Float[Tensor, "v 3 3"] | None = None

    def __post_init__(self) -> None:
        views = len(self.images)
        for field in ("depth", "valid", "world_to_camera", "intrinsics"):
            value = getattr(self, field)
            if value is not None and len(value) != views:
                raise ValueError(
                    f"{self.name}: {field} has {len(value)} views; images have {views}: give "
                    "as many"
                )
        for field in ("depth", "valid"):
            value = getattr(self, field)
            if value is not None and value.shape[1:] != self.images.shape[2:]:
                raise ValueError(
                    f"{self.name}: {field} is {tuple(value.shape[1:])}; images are "
                    f"{tuple(self.images.shape[2:])}: bring it to their size"
                )

    @property
    def num_views(self) -> int:
        """How many views there are."""
        return len(self.images)

    def select(self, views: list[int]) -> "Scene":
        """Return a scene of the named views, in that order."""
        index = torch.tensor(views, device=self.images.device)

        def pick(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[index]

        return Scene(
            name=self.name,
            images=self.images[index],
            depth=pick(self.depth),
            valid=pick(self.valid),
            world_to_camera=pick(self.world_to_camera),
            intrinsics=pick(self.intrinsics),
        )
