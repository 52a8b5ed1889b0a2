"""Reconstructions on disk, in the formats that other programs read."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .arrays import write_npz as write_npz
from .colmap import write_colmap as write_colmap
from .depth import write_depth as write_depth
from .glb import write_glb as write_glb
from .ply import write_ply as write_ply
from .points import PointOptions as PointOptions
from .points import gather_points as gather_points
from .reconstruction import PointCloud as PointCloud
from .reconstruction import View as View
from .transforms import write_transforms as write_transforms

Writer = Callable[[Path, PointCloud, Sequence[View], Path], None]

WRITERS: dict[str, Writer] = {
    "ply": lambda out, cloud, views, images: write_ply(out / "points.ply", cloud),
    "glb": lambda out, cloud, views, images: write_glb(out / "scene.glb", cloud, views),
    "npz": lambda out, cloud, views, images: write_npz(out / "prediction.npz", views),
    "depth": lambda out, cloud, views, images: write_depth(out / "depth", views),
    "transforms": lambda out, cloud, views, images: write_transforms(
        out / "transforms.json", views, images=images
    ),
    "colmap": lambda out, cloud, views, images: write_colmap(out / "sparse/0", cloud, views),
}
