"""The given cameras of a scene, and what is made with them, near the origin and where they belong.

Maps and surveys count meters from far away, by millions, where float32 has steps of half a meter.
So the network and the refinement see the cameras from the first one's center, and what they make
is put in its place in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from recon_backbones.geometry.cameras import in_moved_world
from recon_backbones.geometry.similarity import camera_centers
from recon_backbones.photos.gather import Photos
from recon_backbones.reconstruction import Reconstruction
from recon_backbones.telling import Telling

FINE = 1e-4  # of the typical depth: larger steps of float32 are told


@dataclass(frozen=True, kw_only=True)
class Given:
    """Cameras as they were given; `intrinsics` in pixels of the photos."""

    world_to_camera: Float64[Tensor, "v 3 4"]
    intrinsics: Float64[Tensor, "v 3 3"]

    @staticmethod
    def of(chosen: Photos, sizes: Sequence[tuple[int, int]]) -> "Given | None":
        """Those of the chosen photos, if they have any; raises InputError as `Photos` does."""
        poses, lenses = chosen.world_to_camera(), chosen.intrinsics(sizes)
        if poses is None or lenses is None:
            return None
        return Given(world_to_camera=poses.double(), intrinsics=lenses.double())

    @property
    def origin(self) -> Float64[Tensor, "3"]:
        """Where the first camera stands."""
        return camera_centers(self.world_to_camera)[0]

    @property
    def near(self) -> Float64[Tensor, "v 3 4"]:
        """The cameras in a world that has the first one's center at 0."""
        return in_moved_world(self.world_to_camera, -self.origin)

    def placed(self, made: Reconstruction, telling: Telling) -> Reconstruction:
        """What was made of `near`, back in the given world; cameras that stayed are those given."""
        found, start = torch.from_numpy(made.world_to_camera), self.near
        stayed = (found == start).all(dim=2, keepdim=True).all(dim=1, keepdim=True)
        back = in_moved_world(found, self.origin)
        made = replace(
            made, world_to_camera=torch.where(stayed, self.world_to_camera, back).numpy()
        )
        if made.tracked is not None:
            points = made.tracked.points + self.origin.numpy()
            made = replace(made, tracked=replace(made.tracked, points=points))
        return self._told(made, telling)

    def _told(self, made: Reconstruction, telling: Telling) -> Reconstruction:
        """With a word where programs that count in float32 will lose what is here."""
        far = float(camera_centers(self.world_to_camera).abs().max())
        step = float(np.spacing(np.float32(far)))
        if not step > FINE * float(np.median(made.depth[made.keep])):
            return made
        first = ", ".join(f"{x:.10g}" for x in self.origin.tolist())
        told = (
            f"cameras stand {far:.3g} from the origin, where float32 has steps of {step:.2g}; they "
            "are kept in float64, and what rounds to float32, as many viewers and splat trainers "
            f"do, is better given cameras less the first one's center ({first})"
        )
        telling.say(told)
        return replace(made, facts=(*made.facts, ("far from the origin", told)))
