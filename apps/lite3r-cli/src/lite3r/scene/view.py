"""A reconstructed scene: views with depth and cameras, and points, in one world frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True, kw_only=True)
class View:
    """One photo, its depth and its camera.

    The camera is OpenCV (x right, y down, z forward); the centre of the top left
    pixel is at (0.5, 0.5). `depth` is z-depth in units of the reconstruction.

    name: file name of the photo, as it is written to the exports.
    image, depth, confidence: as the network saw them.
    intrinsics: in pixels of `image`.
    original_intrinsics: the same camera in pixels of the photo on disk.
    original_size: width and height of the photo on disk.
    keep: pixels that become points and depth images; None for all.
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

    @property
    def known(self) -> Bool[np.ndarray, "y x"]:
        """Pixels with a depth: finite, positive, and kept."""
        there: Bool[np.ndarray, "y x"] = np.isfinite(self.depth) & (self.depth > 0)
        return there if self.keep is None else there & self.keep

    @property
    def camera_to_world(self) -> Float[np.ndarray, "4 4"]:
        """The inverse of `world_to_camera`, homogeneous."""
        rotation, translation = self.world_to_camera[:, :3], self.world_to_camera[:, 3]
        pose = np.eye(4)
        pose[:3, :3] = rotation.T
        pose[:3, 3] = -rotation.T @ translation
        return pose


@dataclass(frozen=True, kw_only=True)
class PointCloud:
    """Coloured points in the world frame, each with the confidence of its depth."""

    xyz: Float[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    confidence: Float[np.ndarray, " p"]

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, index: np.ndarray | Bool[np.ndarray, " p"]) -> "PointCloud":
        """The points at these positions, in this order."""
        return PointCloud(
            xyz=self.xyz[index], rgb=self.rgb[index], confidence=self.confidence[index]
        )

    @staticmethod
    def concatenate(clouds: "list[PointCloud]") -> "PointCloud":
        """All points of several clouds."""
        return PointCloud(
            xyz=np.concatenate([c.xyz for c in clouds]),
            rgb=np.concatenate([c.rgb for c in clouds]),
            confidence=np.concatenate([c.confidence for c in clouds]),
        )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene as it is written: points, views, and what a reader should know of them.

    photos: folder of the photos, relative to the folder that is written; names of views
    are relative to it.
    facts: label and text of what the scene was made with, for the report page.
    """

    title: str
    cloud: PointCloud
    views: Sequence[View]
    photos: Path
    facts: Sequence[tuple[str, str]] = ()
