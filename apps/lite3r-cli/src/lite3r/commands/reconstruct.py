"""`lite3r reconstruct`: from photos of one scene to points, depth and cameras."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional

from ..terminal import Output

Format = Literal["ply", "glb", "npz", "depth", "transforms", "colmap", "html"]
FORMATS: tuple[Format, ...] = ("ply", "glb", "npz", "depth", "transforms", "colmap", "html")


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Reconstruct a scene from photos: points, depth and cameras, in the formats others read."""

    photos: Positional[tuple[str, ...]]
    """A folder, photos, a shell pattern in quotes, or a .txt file with one path per line."""
    model: str = "teacher"
    """A student's folder, as runs/da3-tiny, or teacher for the dense backbone."""
    backbone: str = "da3-tiny"
    """Which dense backbone, with --model teacher."""
    weights: str | None = None
    """The backbone's weights: bundled, hub, random, or a file."""
    out: Path | None = None
    """Folder to write; reconstructions/NAME unless given."""
    overwrite: bool = False
    """Replace that folder."""
    formats: tuple[Format, ...] = FORMATS
    """What to write."""
    size: int = 224
    """Longer side in pixels at which the network sees a photo."""
    max_views: int | None = None
    """Use at most this many photos, evenly spaced."""
    confidence_percentile: float = 20.0
    """Drop this share (percent) of the pixels from the points: those of least confidence."""
    edge_tolerance: float = 0.1
    """Drop pixels whose depth differs from a neighbour's by more than this fraction."""
    max_points: int = 1_000_000
    """Thin the points to at most this many, one per voxel."""
    seed: int = 0
    """Decides random weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.size < 14:
            raise ValueError(f"size is {self.size}; it must be at least 14 pixels, one patch")
        if self.max_views is not None and self.max_views < 2:
            raise ValueError(f"max_views is {self.max_views}; it must be at least 2")
        if not self.photos:
            raise ValueError("photos: name a folder, photos, a pattern or a .txt list")
        from ..export.points import PointOptions

        PointOptions(
            confidence_percentile=self.confidence_percentile,
            edge_tolerance=self.edge_tolerance,
            max_points=self.max_points,
        )

    def run(self) -> None:
        """Reconstruct, and write everything or nothing."""
        from ..reconstruction import run_reconstruct
        from ..terminal import Terminal

        run_reconstruct(self, Terminal(self.output))
