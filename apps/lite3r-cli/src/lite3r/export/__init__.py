"""Reconstructions on disk, in the formats that other programs read."""

from collections.abc import Callable
from pathlib import Path

from .arrays import write_npz as write_npz
from .colmap import write_colmap as write_colmap
from .depth import write_depth as write_depth
from .glb import write_glb as write_glb
from .html import Model as Model
from .html import write_html as write_html
from .ply import write_ply as write_ply
from .points import PointOptions as PointOptions
from .points import gather_points as gather_points
from .reconstruction import PointCloud as PointCloud
from .reconstruction import Reconstruction as Reconstruction
from .reconstruction import View as View
from .transforms import write_transforms as write_transforms

Writer = Callable[[Path, Reconstruction], None]

WRITERS: dict[str, Writer] = {
    "ply": lambda out, made: write_ply(out / "points.ply", made.cloud),
    "glb": lambda out, made: write_glb(out / "scene.glb", made.cloud, made.views),
    "npz": lambda out, made: write_npz(out / "prediction.npz", made.views),
    "depth": lambda out, made: write_depth(out / "depth", made.views),
    "transforms": lambda out, made: write_transforms(
        out / "transforms.json", made.views, images=made.photos
    ),
    "colmap": lambda out, made: write_colmap(out / "sparse/0", made.cloud, made.views),
    "html": lambda out, made: write_html(
        out / "scene.html",
        [Model(label=made.title, cloud=made.cloud, views=made.views)],
        title=made.title,
    ),
}
