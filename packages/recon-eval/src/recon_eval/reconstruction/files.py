"""A reconstruction in the formats that other programs read."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from recon_eval import points
from recon_eval.formats import write_colmap, write_glb, write_ply, write_transforms
from recon_eval.formats.records import Camera, Observations, PointCloud
from recon_eval.reconstruction.archive import write_archive
from recon_eval.reconstruction.depth_maps import PREVIEW, write_depth_maps
from recon_eval.reconstruction.page import Model, write_page
from recon_eval.reconstruction.photos import (
    FOLDER,
    MASKS,
    image_names,
    link_photos,
    write_masks,
)
from recon_eval.reconstruction.summary import write_summary
from recon_eval.reconstruction.view import Reconstruction

Writer = Callable[[Path, Reconstruction], None]
FRAME = "the first camera"  # unless the facts say another
TEXT = "colmap_text"
LONGEST = 255  # bytes of a file's name


def check_photos(photos: Sequence[Path], formats: Collection[str]) -> None:
    """Raise ValueError, before any work, where a format cannot hold the name of one of the photos.

    They are named by their paths below the folder that all share.
    """
    paths = [os.path.abspath(photo) for photo in photos]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = [Path(path).relative_to(shared).as_posix() for path in paths]
    if TEXT in formats:
        _check_spaces(names)
    for name in names:
        flat = os.fsencode(Path(name.replace("/", "_")).stem + f"{PREVIEW}.png")
        if name.encode(errors="replace") != os.fsencode(name):
            raise ValueError(f"{name!r} is no UTF-8; names of photos must be: rename it")
        if "depth" in formats and len(flat) > LONGEST:
            raise ValueError(
                f"{name!r} is too long; its depth map would have a name of {len(flat)} bytes, and "
                f"at most {LONGEST} fit: give the photo a shorter one"
            )


def _check_spaces(names: Sequence[str]) -> None:
    """Raise ValueError where readers of text would cut a name."""
    if cut := [name for name in names if name != "".join(name.split())]:
        raise ValueError(
            f"{cut[0]!r} has a space; readers of text cut a name there: leave {TEXT} out, or give "
            "the photo another name"
        )


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
    cameras = _cameras(made)
    if kind == "txt":  # what was asked for is not left out because a binary model lies there
        _check_spaces([camera.name for camera in cameras])
    link_photos(out, made.views, made.photos)
    write_masks(out, made.views)
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
    TEXT: partial(_colmap, "txt"),
    "html": _html,
    "report": lambda out, made: write_summary(out / "report.html", made),
}
"""Writes one form of a reconstruction into a folder, by name."""

WRITTEN = (
    *("points.ply", "scene.glb", "prediction.npz", "depth", "transforms.json", "sparse"),
    *(FOLDER, MASKS, "scene.html", "report.html"),
)
"""What the writers leave in a folder."""
