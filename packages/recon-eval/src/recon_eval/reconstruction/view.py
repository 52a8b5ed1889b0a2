"""A reconstructed scene: views with depth and cameras, and points, in one world frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from recon_eval.formats.records import Camera, Observations, PointCloud, camera_to_world


@dataclass(frozen=True, kw_only=True)
class View:
    """One photo, its depth and its camera.

    The camera is OpenCV (x right, y down, z forward); the center of the top left
    pixel is at (0.5, 0.5). `depth` is z-depth in units of the reconstruction.

    - `name`: file name of the photo, as it is written to the exports.
    - `image`, `depth`, `confidence`: as the network saw them.
    - `intrinsics`: in pixels of `image`.
    - `original_intrinsics`: the same camera in pixels of the photo on disk.
    - `original_size`: width and height of the photo on disk.
    - `keep`: pixels that become points and depth images; None for all.
    - `mask`: reads the mask that was given with the photo, in the photo's pixels: False is ignored.
    """

    name: str
    image: UInt8[np.ndarray, "y x 3"]
    depth: Float[np.ndarray, "y x"]
    confidence: Float[np.ndarray, "y x"]
    world_to_camera: Float[np.ndarray, "3 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    original_intrinsics: Float[np.ndarray, "3 3"]
    original_size: tuple[int, int]
    keep: Bool[np.ndarray, "y x"] | None = None
    mask: Callable[[], Bool[np.ndarray, "Y X"]] | None = None

    @property
    def known(self) -> Bool[np.ndarray, "y x"]:
        """Pixels with a depth: finite, positive, and kept."""
        there: Bool[np.ndarray, "y x"] = np.isfinite(self.depth) & (self.depth > 0)
        return there if self.keep is None else there & self.keep

    @property
    def camera_to_world(self) -> Float[np.ndarray, "4 4"]:
        """The inverse of `world_to_camera`, homogeneous."""
        return camera_to_world(self.world_to_camera)

    @property
    def camera(self) -> Camera:
        """The camera in pixels of `image`."""
        height, width = self.depth.shape
        return Camera(
            name=self.name,
            world_to_camera=self.world_to_camera,
            intrinsics=self.intrinsics,
            size=(width, height),
        )

    @property
    def camera_of_photo(self) -> Camera:
        """The same camera in pixels of the photo on disk."""
        return Camera(
            name=self.name,
            world_to_camera=self.world_to_camera,
            intrinsics=self.original_intrinsics,
            size=self.original_size,
        )


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """Points that photos see to a fraction of a pixel, and where: what cameras were fitted to."""

    cloud: PointCloud
    observations: Observations


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """A scene as it is written: points, views, and what a reader should know of them.

    - `photos`: folder of the photos, relative to the folder that is written; names of views
      are relative to it.
    - `facts`: label and text of what the scene was made with, for the summary page.
    - `tracked`: what the cameras were fitted to, if they were.
    """

    title: str
    cloud: PointCloud
    views: Sequence[View]
    photos: Path
    facts: Sequence[tuple[str, str]] = ()
    tracked: Tracked | None = None
