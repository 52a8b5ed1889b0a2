"""A reconstruction from photos to files: what `lite3r reconstruct` does."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import recon_backbones
from recon_backbones import Backbone, InputError, KnownDistance
from recon_backbones.photos import CamerasOf, find_photos, is_video
from recon_backbones.views.scale import parse_end

from .. import atomic
from ..environment import pick_device
from ..errors import UserError, reported
from ..export import WRITERS, PointOptions, Reconstruction, View, gather_points
from ..student import TeacherSpec, default_weights, load, versions
from ..terminal import Terminal
from .given import cameras_from

if TYPE_CHECKING:
    from ..commands.reconstruct import Reconstruct

MARK = "reconstruction.json"
FRAMES = "images"  # folder of the reconstruction for the frames of a video
Facts = tuple[tuple[str, str], ...]


def run_reconstruct(options: "Reconstruct", terminal: Terminal) -> None:
    """Find photos, predict, and write the exports into a new folder, whole or not at all."""
    folder = options.out or Path("reconstructions") / _title(options.photos)
    with reported(OSError):
        check_folder(folder, options.photos, overwrite=options.overwrite)
    with reported(OSError), atomic.new_folder(folder, overwrite=options.overwrite) as partial:
        made, facts = make(options, partial, terminal)
        points = write(options, partial, folder, made, facts, terminal)
    terminal.result(
        {"out": str(folder), "views": len(made), "points": points} | dict(facts),
        f"{len(made)} view{'s' * (len(made) != 1)}, {points:,} points in {folder}",
    )


def check_folder(folder: Path, inputs: Sequence[str], *, overwrite: bool) -> None:
    """Refuse, before any work, a folder that cannot be written or would lose something.

    Raises UserError for one that exists without `overwrite`, that holds anything but a
    reconstruction, or that holds an input; OSError where nothing can be written.
    """
    atomic.check_writable(folder)
    if not folder.exists():
        return
    if not overwrite:
        raise UserError(f"{folder} exists already; add --overwrite, or choose another --out")
    inside = [given for given in inputs if Path(given).resolve().is_relative_to(folder.resolve())]
    if inside:
        raise UserError(f"{folder} holds {inside[0]}, which would be lost; choose another --out")
    held = sorted(path.name for path in folder.iterdir())
    if held and MARK not in held:
        raise UserError(
            f"{folder} is no reconstruction of lite3r (it holds {', '.join(held[:3])}); choose "
            "another --out"
        )


def make(
    options: "Reconstruct", partial: Path, terminal: Terminal
) -> tuple[recon_backbones.Reconstruction, Facts]:
    """Reconstruct, with what was decided on the way. Frames of a video go to `partial`."""
    teacher = options.model == "teacher"
    if options.memory.precision == "bfloat16" and not teacher:
        raise UserError(
            "precision bfloat16 is for --model teacher; a student keeps the precision that it was "
            "trained for"
        )
    with reported():
        choice, masks = options.inputs.choice(), options.masks.masks()
        cameras = _cameras(options.inputs.cameras)
        distance = _distance(options.known_distance)
        if not any(is_video(Path(given)) for given in options.photos):
            # before weights are loaded, or fetched
            find_photos(options.photos, at_least=1, recursive=choice.recursive)
        backbone = load_model(
            options.model, options.backbone, options.weights, options.seed, options.device
        )
    with reported(InputError, OSError):
        made = recon_backbones.reconstruct(
            options.photos,
            backbone,
            size=options.size,
            budget=options.memory.budget,
            window=options.memory.window,
            overlap=options.memory.overlap,
            precision=options.memory.precision if teacher else "kept",
            choice=choice,
            masks=masks,
            cameras=cameras,
            known_distance=distance,
            metric=None if options.metric_model is None else lambda: load_metric(options),
            frames=partial / FRAMES,
            say=terminal.say,
            progress=terminal.progress,
        )
    given = (("cameras", f"given by {options.inputs.cameras}"),) if cameras is not None else ()
    model = backbone.name if teacher else f"student {options.model}"
    return made, (*given, ("model", model), *made.facts)


def write(
    options: "Reconstruct",
    partial: Path,
    folder: Path,
    made: recon_backbones.Reconstruction,
    facts: Facts,
    terminal: Terminal,
) -> int:
    """Write the chosen formats into `partial`, which becomes `folder`; the number of points."""
    everything = PointOptions(
        confidence_percentile=0.0, edge_tolerance=float("inf"), max_points=options.max_points
    )  # views say themselves which pixels to keep
    photos = Path(FRAMES)
    if not made.root.is_relative_to(partial.absolute()):
        photos = Path(os.path.relpath(made.root, folder.absolute()))
    views = to_views(made)
    reconstruction = Reconstruction(
        title=folder.name,
        cloud=gather_points(views, everything),
        views=views,
        photos=photos,
        facts=facts,
    )
    for name in options.formats:
        terminal.say(f"writing {name} ...")
        WRITERS[name](partial, reconstruction)
    atomic.write_json(
        partial / MARK,
        {
            "format": "lite3r-reconstruction/1",
            "views": list(made.photos),
            "points": len(reconstruction.cloud),
            "facts": [list(fact) for fact in facts],
            "versions": versions(),
        },
    )
    return len(reconstruction.cloud)


def to_views(made: recon_backbones.Reconstruction) -> list[View]:
    """Views for the exporters."""
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
        )
        for i, name in enumerate(made.photos)
    ]


def load_model(model: str, backbone: str, weights: str | None, seed: int, device: str) -> Backbone:
    """A student from its folder, or the dense backbone for "teacher"."""
    where = pick_device(device)
    if model != "teacher":
        return load(model, device=where, weights=weights).backbone
    spec = TeacherSpec(backbone=backbone, weights=weights or default_weights(backbone), seed=seed)
    return spec.load(device=where)


def load_metric(options: "Reconstruct") -> Backbone:
    """The network that sees metres, as it was asked for."""
    spec = TeacherSpec(
        backbone=str(options.metric_model), weights=options.metric_weights, seed=options.seed
    )
    with reported():
        return spec.load(device=pick_device(options.device))


def _cameras(path: Path | None) -> CamerasOf | None:
    return None if path is None else cameras_from(path)


def _distance(given: tuple[str, str, float] | None) -> KnownDistance | None:
    if given is None:
        return None
    first, second, metres = given
    return KnownDistance(first=parse_end(first), second=parse_end(second), metres=metres)


def _title(inputs: Sequence[str]) -> str:
    """A name for the reconstruction, after the first input."""
    first = Path(inputs[0]).absolute()
    if first.is_dir():
        return first.name or "scene"
    return first.stem if len(inputs) == 1 and first.is_file() else first.parent.name or "scene"
