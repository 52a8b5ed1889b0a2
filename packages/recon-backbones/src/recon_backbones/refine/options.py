"""How cameras are refined."""

from dataclasses import dataclass

from recon_backbones.errors import InputError
from recon_backbones.refine.lenses import Focal


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How cameras are refined.

    - `focal`: "each" photo has a focal length of its own; "shared": photos of one size were taken
      by one camera and have one lens, its principal point refined too; "fixed": lenses are known.
    - `size`: longer side in pixels, at least, at which keypoints are looked for; less than twice
      as much is looked at.
    - `keypoints`: at most so many in each photo.
    - `neighbors`: each photo is matched with about so many others, those that follow it and those
      that the network places near it; all with all where twice as many photos or fewer are given.

    Raises InputError for values outside their range.
    """

    focal: Focal = "each"
    size: int = 1024
    keypoints: int = 4096
    neighbors: int = 20

    def __post_init__(self) -> None:
        if self.focal not in ("shared", "each", "fixed"):
            raise InputError(f"focal={self.focal!r}; it must be one of: shared, each, fixed")
        for name, value, least in (
            ("size", self.size, 64),
            ("keypoints", self.keypoints, 100),
            ("neighbors", self.neighbors, 2),
        ):
            if value < least:
                raise InputError(
                    f"{name}={value}; it must be at least {least}: leave it out for the usual value"
                )
