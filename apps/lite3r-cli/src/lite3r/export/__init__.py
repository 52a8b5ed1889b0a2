"""Reconstructions on disk, in the formats that other programs read."""

from collections.abc import Callable
from pathlib import Path

from .arrays import read_npz as read_npz
from .arrays import write_npz as write_npz
from .colmap import write_colmap as write_colmap
from .depth import write_depth as write_depth
from .glb import write_glb as write_glb
from .html import Model as Model
from .html import write_html as write_html
from .linked import link_photos as link_photos
from .ply import write_ply as write_ply
from .points import PointOptions as PointOptions
from .points import gather_points as gather_points
from .reconstruction import PointCloud as PointCloud
from .reconstruction import Reconstruction as Reconstruction
from .reconstruction import View as View
from .summary import write_report as write_report
from .transforms import write_transforms as write_transforms

Writer = Callable[[Path, Reconstruction], None]


def _transforms(out: Path, made: Reconstruction) -> None:
    """Cameras, the photos that they belong to, and the points that splats start from."""
    link_photos(out, made.views, made.photos)
    write_ply(out / "points.ply", made.cloud)
    write_transforms(out / "transforms.json", made.views, points="points.ply")


def _colmap(out: Path, made: Reconstruction) -> None:
    """A model and its photos, as splat trainers and COLMAP itself want them."""
    link_photos(out, made.views, made.photos)
    write_colmap(out / "sparse/0", made.cloud, made.views)


def _html(out: Path, made: Reconstruction) -> None:
    model = Model(label=made.title, cloud=made.cloud, views=made.views)
    write_html(out / "scene.html", [model], title=made.title)


WRITERS: dict[str, Writer] = {
    "ply": lambda out, made: write_ply(out / "points.ply", made.cloud),
    "glb": lambda out, made: write_glb(out / "scene.glb", made.cloud, made.views),
    "npz": lambda out, made: write_npz(out / "prediction.npz", made.views),
    "depth": lambda out, made: write_depth(out / "depth", made.views),
    "transforms": _transforms,
    "colmap": _colmap,
    "html": _html,
    "report": lambda out, made: write_report(out / "report.html", made),
}
