"""A scene in the formats that other programs read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lite3r.pages.reconstruction import write_report
from lite3r.pages.scene import Model, write_html
from lite3r.scene.archive import write_npz
from lite3r.scene.depth import write_depth
from lite3r.scene.linked import FOLDER, link_photos
from lite3r.scene.view import PointCloud, Scene, View
from recon_eval import formats, points

Writer = Callable[[Path, Scene], None]
WORLD = "world frame: x right, y down, z forward of the first camera"


def cameras(views: Sequence[View], *, of_photos: bool, folder: str = "") -> list[formats.Camera]:
    """The views' cameras, in pixels of the photos or of what the network saw.

    - `folder`: put before the names of the photos.
    """
    return [
        formats.Camera(
            name=f"{folder}{view.name}",
            world_to_camera=view.world_to_camera,
            intrinsics=view.original_intrinsics if of_photos else view.intrinsics,
            size=view.original_size if of_photos else view.depth.shape[::-1],
        )
        for view in views
    ]


def _ply(path: Path, cloud: PointCloud) -> None:
    formats.write_ply(path, _cloud(cloud), comment=WORLD)


def _glb(out: Path, made: Scene) -> None:
    seen = cameras(made.views, of_photos=False)
    formats.write_glb(out / "scene.glb", _cloud(made.cloud), seen)


def _transforms(out: Path, made: Scene) -> None:
    """Cameras, the photos that they belong to, and the points that splats start from."""
    link_photos(out, made.views, made.photos)
    _ply(out / "points.ply", made.cloud)
    found = cameras(made.views, of_photos=True, folder=f"{FOLDER}/")
    formats.write_transforms(out / "transforms.json", found, points="points.ply")


def _colmap(out: Path, made: Scene) -> None:
    """A model with tracks and its photos, as splat trainers and COLMAP itself want them."""
    link_photos(out, made.views, made.photos)
    found, cloud = cameras(made.views, of_photos=True), _cloud(made.cloud)
    seen = cameras(made.views, of_photos=False)
    known = [np.where(view.known, view.depth, 0.0) for view in made.views]
    sightings = points.find_sightings(cloud.points, seen, known)
    observations = points.observe(cloud.points, sightings, found)
    formats.write_colmap(out / "sparse/0", found, cloud, observations)


def _html(out: Path, made: Scene) -> None:
    model = Model(label=made.title, cloud=made.cloud, views=made.views)
    write_html(out / "scene.html", [model], title=made.title)


def _cloud(cloud: PointCloud) -> formats.PointCloud:
    return formats.PointCloud(points=cloud.xyz, colors=cloud.rgb, confidence=cloud.confidence)


WRITERS: dict[str, Writer] = {
    "ply": lambda out, made: _ply(out / "points.ply", made.cloud),
    "glb": _glb,
    "npz": lambda out, made: write_npz(out / "prediction.npz", made.views),
    "depth": lambda out, made: write_depth(out / "depth", made.views),
    "transforms": _transforms,
    "colmap": _colmap,
    "html": _html,
    "report": lambda out, made: write_report(out / "report.html", made),
}
