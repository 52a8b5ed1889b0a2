"""A reconstruction in the formats that other programs read."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from recon_eval import points
from recon_eval.formats import write_colmap, write_glb, write_ply, write_transforms
from recon_eval.formats.records import Camera, Observations, PointCloud
from recon_eval.reconstruction.archive import write_archive
from recon_eval.reconstruction.depth_maps import write_depth_maps
from recon_eval.reconstruction.page import Model, write_page
from recon_eval.reconstruction.photos import FOLDER, image_names, link_photos, write_masks
from recon_eval.reconstruction.summary import write_summary
from recon_eval.reconstruction.view import Reconstruction

Writer = Callable[[Path, Reconstruction], None]
FRAME = "the first camera"  # unless the facts say another


def _ply(out: Path, made: Reconstruction) -> None:
    frame = dict(made.facts).get("frame", FRAME)
    axes = ": x right, y down, z forward" if frame == FRAME else ""
    write_ply(out / "points.ply", made.cloud, comment=f"world frame: {frame}{axes}")


def _glb(out: Path, made: Reconstruction) -> None:
    write_glb(out / "scene.glb", made.cloud, [view.camera for view in made.views])


def _transforms(out: Path, made: Reconstruction) -> None:
    """Cameras, the photos that they belong to, and the points that splats start from."""
    link_photos(out, made.views, made.photos)
    _ply(out, made)
    found = [replace(camera, name=f"{FOLDER}/{camera.name}") for camera in _cameras(made)]
    masks = write_masks(out, made.views) or None
    write_transforms(out / "transforms.json", found, points="points.ply", masks=masks)


def _colmap(kind: str, out: Path, made: Reconstruction) -> None:
    """A model with tracks and its photos, as splat trainers and COLMAP itself want them.

    Points that cameras were fitted to come first, with the observations that were used.
    """
    link_photos(out, made.views, made.photos)
    write_masks(out, made.views)
    cameras = _cameras(made)
    known = [np.where(view.known, view.depth, 0.0) for view in made.views]
    seen = [view.camera for view in made.views]
    sightings = points.find_sightings(made.cloud.points, seen, known)
    observations = points.observe(made.cloud.points, sightings, cameras)
    cloud = made.cloud
    if made.tracked is not None:
        first, exact = made.tracked.cloud, made.tracked.observations
        cloud = PointCloud.concatenate([first, cloud])
        observations = Observations.concatenate([exact, observations.behind(len(first))])
    model = out / "sparse/0"
    kinds = {kind, *(path.suffix[1:] for path in model.glob("cameras.*"))}  # a model is one
    write_colmap(model, cameras, cloud, observations, kinds=sorted(kinds))


def _cameras(made: Reconstruction) -> list[Camera]:
    """Cameras of the photos, named as these lie in the folder of images."""
    names = image_names(made.views)
    return [
        replace(view.camera_of_photo, name=name)
        for view, name in zip(made.views, names, strict=True)
    ]


def _html(out: Path, made: Reconstruction) -> None:
    model = Model(label=made.title, cloud=made.cloud, views=made.views)
    write_page(out / "scene.html", [model], title=made.title)


WRITERS: dict[str, Writer] = {
    "ply": _ply,
    "glb": _glb,
    "npz": lambda out, made: write_archive(out / "prediction.npz", made.views),
    "depth": lambda out, made: write_depth_maps(out / "depth", made.views),
    "transforms": _transforms,
    "colmap": partial(_colmap, "bin"),
    "colmap_text": partial(_colmap, "txt"),
    "html": _html,
    "report": lambda out, made: write_summary(out / "report.html", made),
}
"""Writes one form of a reconstruction into a folder, by name."""
