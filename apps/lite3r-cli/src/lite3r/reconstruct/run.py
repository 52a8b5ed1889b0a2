"""A reconstruction from photos to files: what `lite3r reconstruct` does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import recon_backbones
from lite3r.reconstruct.cameras import cameras_from
from lite3r.shell import atomic
from lite3r.shell.environment import versions
from lite3r.shell.errors import UserError, reported
from lite3r.shell.words import Words
from lite3r.student.deploy import load_model
from lite3r.student.kinds import Backend, Precision
from lite3r.student.student import TeacherSpec
from recon_backbones import InputError, KnownDistance, Masks, PhotoChoice, Refinement
from recon_backbones.photos import is_video, named_photos, read_mask
from recon_backbones.views.units import seeing_meters
from recon_eval.formats import Observations, PointCloud
from recon_eval.reconstruction import (
    WRITERS,
    WRITTEN,
    PointOptions,
    Reconstruction,
    Tracked,
    View,
    check_photos,
    gather_points,
)

MARK = "reconstruction.json"
OTHERS = (MARK, "view.html")  # beside what the writers leave
FRAMES = "images"  # folder of the reconstruction for the frames of a video
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is reconstructed, by which model, and what is written.

    - `photos`: as `recon_backbones.reconstruct` takes them; `model` to `precision` as `load_model`.
    - `cameras`: a file or folder of known cameras. `square_pixels`: one focal length a
      view. `shared_camera`: all photos are by one.
    - `refine`: adjust the cameras to what the photos share.
    - `known_distance`: two ends, as photo or photo:x,y, and meters between them.
    - `metric`: a network that sees meters.
    - `formats`: names of `recon_eval.reconstruction.WRITERS`.
    """

    photos: Sequence[str]
    model: str = "teacher"
    backbone: str | None = None
    weights: str | None = None
    seed: int = 0
    device: str = "cpu"
    backend: Backend = "auto"
    precision: Precision = "auto"
    size: int = 224
    budget: str | None = None
    window: int | None = None
    overlap: int | None = None
    close_loops: bool = True
    choice: PhotoChoice
    masks: Masks
    cameras: Path | None = None
    square_pixels: bool = True
    shared_camera: bool = False
    refine: bool = False
    known_distance: tuple[str, str, float] | None = None
    metric: TeacherSpec | None = None
    formats: Sequence[str]
    max_points: int = 1_000_000


def run(plan: Plan, folder: Path, *, overwrite: bool, words: Words) -> dict[str, Any]:
    """Find photos, predict, and write the exports into a new folder, whole or not at all.

    Returns what was made, for machines. Raises UserError for what cannot be used.
    """
    with reported(UserError, ValueError, OSError):
        check_folder(folder, _inputs(plan), overwrite=overwrite)
    with reported(OSError), atomic.new_folder(folder, overwrite=overwrite) as beside:
        made, facts = make(plan, beside, words)
        points = write(plan, beside, folder, made, facts, words)
    told = {label: "; ".join(text for of, text in facts if of == label) for label, _ in facts}
    return told | {"out": str(folder), "views": len(made), "points": points}


def _inputs(plan: Plan) -> list[Path]:
    """All that is read. Photos are looked for before weights are read, or fetched."""
    given = [Path(one) for one in (*plan.photos, plan.cameras, plan.masks.folder) if one]
    if not any(is_video(Path(one)) and Path(one).is_file() for one in plan.photos):
        photos = named_photos(plan.photos, plan.choice)
        check_photos(photos, plan.formats)
        given += photos
    return given


def check_folder(folder: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, a folder that cannot be written or would lose something.

    Raises UserError for one that holds an input; OSError for one that exists without `overwrite`,
    that holds anything but a reconstruction, and where nothing can be written.
    """
    atomic.check_writable(folder)
    if not folder.exists():
        return
    atomic.refuse_existing(folder, overwrite=overwrite)
    ways = [(given, os.path.realpath(way)) for given in inputs for way in (given, given.parent)]
    inside = [given for given, way in ways if Path(way).is_relative_to(folder.resolve())]
    if inside:
        raise UserError(f"{folder} holds {inside[0]}; it would be lost: choose another --out")
    own = (*WRITTEN, *OTHERS) if (folder / MARK).exists() else ()
    atomic.refuse_foreign(folder, "reconstruction of lite3r", lambda name: name in own)


def make(plan: Plan, beside: Path, words: Words) -> tuple[recon_backbones.Reconstruction, Facts]:
    """Reconstruct, with what was decided on the way. Frames of a video go to `beside`."""
    with reported():
        cameras = None if plan.cameras is None else cameras_from(plan.cameras)
        known, metric = plan.known_distance, plan.metric
        distance = None if known is None else KnownDistance.between(*known)
        if metric is not None:  # read when the scene is seen, which is late for a refusal
            seeing_meters(metric.load())
        how = ("backbone", "weights", "seed", "device", "backend", "precision")
        model = load_model(plan.model, **{name: getattr(plan, name) for name in how})
    words.say(f"{model.name}: {model.ran}")
    with reported(InputError):
        made = recon_backbones.reconstruct(
            plan.photos,
            model.backbone,
            size=plan.size,
            budget=plan.budget,
            window=plan.window,
            overlap=plan.overlap,
            close_loops=plan.close_loops,
            precision="kept" if model.student else plan.precision,
            choice=plan.choice,
            masks=plan.masks,
            cameras=cameras,
            square_pixels=plan.square_pixels,
            shared_camera=plan.shared_camera,
            known_distance=distance,
            metric=partial(metric.load, device=plan.device) if metric else None,
            refine=Refinement() if plan.refine else None,
            frames=beside / FRAMES,
            say=words.say,
            progress=words.progress,
        )
    precision = str(next(model.backbone.parameters()).dtype).removeprefix("torch.")
    ran = model.ran if model.student else precision
    given = (("cameras", f"given by {plan.cameras}"),) if cameras is not None else ()
    return made, (*given, ("model", model.name), ("computed in", ran), *made.facts)


def write(
    plan: Plan,
    beside: Path,
    folder: Path,
    made: recon_backbones.Reconstruction,
    facts: Facts,
    words: Words,
) -> int:
    """Write the chosen formats into `beside`, which becomes `folder`; the number of points."""
    everything = PointOptions(
        confidence_percentile=0.0, edge_tolerance=float("inf"), max_points=plan.max_points
    )  # views say themselves which pixels to keep
    own = made.root.is_relative_to(beside.absolute())
    photos = Path(FRAMES if own else os.path.relpath(made.root, beside.absolute()))
    views = to_views(made)
    cloud = gather_points(views, everything)
    scene = Reconstruction(
        title=folder.name,
        cloud=cloud,
        views=views,
        photos=photos,
        facts=facts,
        tracked=_tracked(made),
    )
    for name in sorted(plan.formats, key="report".__eq__):  # which lists the other files, last
        words.say(f"writing {name} ...")
        with reported(ValueError):
            WRITERS[name](beside, scene)
    mark: dict[str, Any] = {"format": "lite3r-reconstruction/1", "views": list(made.photos)}
    mark |= {"points": len(cloud), "facts": [list(fact) for fact in facts], "versions": versions()}
    atomic.write_json(beside / MARK, mark)
    return len(cloud)


def to_views(made: recon_backbones.Reconstruction) -> list[View]:
    """Views as pages and files take them."""
    return [
        View(
            name=name,
            image=made.images[i],
            depth=made.depth[i],
            confidence=made.confidence[i],
            world_to_camera=made.world_to_camera[i],
            intrinsics=made.intrinsics_seen[i],
            original_intrinsics=made.intrinsics[i],
            original_size=made.sizes[i],
            keep=made.keep[i],
            mask=partial(read_mask, made.masks[i], made.root / name) if made.masks else None,
        )
        for i, name in enumerate(made.photos)
    ]


def _tracked(made: recon_backbones.Reconstruction) -> Tracked | None:
    """What refined cameras were fitted to."""
    if (seen := made.tracked) is None:
        return None
    return Tracked(
        cloud=PointCloud(points=seen.points, colors=seen.colors),
        observations=Observations(camera=seen.view, point=seen.point, xy=seen.xy),
    )


def of_one(plan: Plan, given: str) -> Plan:
    """The plan for one of its inputs alone; rates of frames are for videos, where there are any."""
    videos = [one for one in plan.photos if is_video(Path(one))]
    if not videos or given in videos:
        return replace(plan, photos=(given,))
    return replace(plan, photos=(given,), choice=replace(plan.choice, fps=None, frames=None))


def title(inputs: Sequence[str]) -> str:
    """A name for the reconstruction, after the first input."""
    first = Path(os.path.abspath(inputs[0]))  # `..` is no name
    if first.is_dir():
        return first.name or "scene"
    return first.stem if len(inputs) == 1 and first.is_file() else first.parent.name or "scene"
