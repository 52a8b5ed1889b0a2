"""What `reconstruct` returns: cameras and depth of every photo, as arrays."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped, UInt8

from recon_backbones.geometry.pixels import PixelMap


@dataclass(frozen=True, kw_only=True)
class TrackedPoints:
    """Points that several photos see, to a fraction of a pixel: those that cameras were fitted to.

    - `points`, `colors`: in the world; sRGB.
    - `view`, `point`, `xy`: of each observation, its photo, its point, and where it is seen, in
      pixels of the whole photo.
    - `error`: of each observation, in the same pixels.
    """

    points: Float64[np.ndarray, "p 3"]
    colors: UInt8[np.ndarray, "p 3"]
    view: Int64[np.ndarray, " o"]
    point: Int64[np.ndarray, " o"]
    xy: Float64[np.ndarray, "o 2"]
    error: Float64[np.ndarray, " o"]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One scene of photos, in the frame of the first camera or of given ones.

    Cameras are OpenCV (x right, y down, z forward); the middle of the first pixel is at
    (0.5, 0.5). Lengths are in `unit`. The network saw each photo smaller: `images`, `depth`,
    `confidence`, `keep` and `intrinsics_seen` are in those pixels, `depth_of`, `confidence_of` and
    `keep_of` bring them to a photo's own, one photo at a time, as whole photos may be large.

    - `photos`: paths below `root`, with forward slashes, in order.
    - `intrinsics`: in pixels of each upright photo at its own size, which is `sizes` (width,
      height).
    - `depth`: along z.
    - `confidence`: at least 1, higher where surer.
    - `keep`: pixels that pass the masks; where False, depth is not to be trusted.
    - `masks`: files of the masks that were given, one a photo; none unless given.
    - `facts`: what was decided on the way, label and text, for people.
    - `tracked`: what refined cameras were fitted to; None where none were.
    """

    photos: tuple[str, ...]
    root: Path
    world_to_camera: Float64[np.ndarray, "v 3 4"]
    intrinsics: Float64[np.ndarray, "v 3 3"]
    sizes: tuple[tuple[int, int], ...]
    images: UInt8[np.ndarray, "v y x 3"]
    depth: Float[np.ndarray, "v y x"]
    confidence: Float[np.ndarray, "v y x"]
    keep: Bool[np.ndarray, "v y x"]
    intrinsics_seen: Float64[np.ndarray, "v 3 3"]
    maps: tuple[PixelMap, ...]
    unit: str
    masks: tuple[Path, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tracked: TrackedPoints | None = None

    def __len__(self) -> int:
        return len(self.photos)

    def scaled(self, factor: float) -> "Reconstruction":
        """The same with every length so many times as large."""
        rotation, translation = np.split(self.world_to_camera, [3], axis=2)
        seen = self.tracked
        return replace(
            self,
            world_to_camera=np.concatenate([rotation, translation * factor], axis=2),
            depth=(self.depth * factor).astype(self.depth.dtype),
            tracked=None if seen is None else replace(seen, points=seen.points * factor),
        )

    def depth_of(self, view: int) -> Float[np.ndarray, "Y X"]:
        """Depth in the pixels of a photo; NaN where the network saw nothing of it."""
        return self._in_photo(self.depth[view], view)

    def confidence_of(self, view: int) -> Float[np.ndarray, "Y X"]:
        """Confidence in the pixels of a photo; NaN where the network saw nothing of it."""
        return self._in_photo(self.confidence[view], view)

    def keep_of(self, view: int) -> Bool[np.ndarray, "Y X"]:
        """The mask in the pixels of a photo: True where all that surrounds a pixel is kept."""
        return self._in_photo(self.keep[view].astype(np.float32), view) > 0.999

    def _in_photo(self, values: Shaped[np.ndarray, "y x"], view: int) -> Float[np.ndarray, "Y X"]:
        return self.maps[view].depth_to_photo(torch.from_numpy(values)).numpy()
