"""A reconstruction from photos to files: what `lite3r reconstruct` does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone, Prediction

from .. import atomic
from ..environment import pick_device
from ..errors import UserError, reported
from ..export import WRITERS, PointOptions, Reconstruction, View, gather_points
from ..photos import Batch, load_batch
from ..settings import readable
from ..student import TeacherSpec, default_weights, load, versions
from ..terminal import Terminal
from .gathering import FRAMES, Gathered, gather
from .inference import Outcome, Scene, run_plan
from .masks import keep_pixels
from .memory import resident
from .planning import Situation, make_plan
from .units import check_one_scale, in_given_unit, metric

if TYPE_CHECKING:
    from ..commands.reconstruct import Reconstruct

MARK = "reconstruction.json"
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A predicted scene, ready to be written."""

    views: list[View]
    root: Path
    facts: Facts


def run_reconstruct(options: "Reconstruct", terminal: Terminal) -> None:
    """Find photos, predict, and write the exports into a new folder, whole or not at all."""
    with reported():
        folder = options.out or Path("reconstructions") / _title(options.photos)
        check_folder(folder, options.photos, overwrite=options.overwrite)
        with atomic.new_folder(folder, overwrite=options.overwrite) as partial:
            made = make(options, partial, terminal)
            points = write(options, partial, folder, made, terminal)
    terminal.result(
        {"out": str(folder), "views": len(made.views), "points": points} | dict(made.facts),
        f"{len(made.views)} views, {points:,} points in {folder}",
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


def make(options: "Reconstruct", partial: Path, terminal: Terminal) -> Made:
    """Gather, predict, scale and mask. Frames of a video go to `partial`."""
    gathered = gather(options.photos, options.inputs, partial, terminal)
    check_one_scale(options, gathered)
    held = resident()
    backbone = load_model(
        options.model, options.backbone, options.weights, options.seed, options.device
    )
    with terminal.progress("reading photos", len(gathered.paths)) as advance:
        batch = load_batch(gathered.paths, backbone, options.size, advance=advance)
    scene = to_scene(gathered, batch)
    outcome = predict(options, backbone, scene, held, terminal)
    pictures = (scene.images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    if gathered.cameras is None:
        prediction, unit = metric(options, outcome.prediction, gathered, batch, terminal)
    else:
        prediction, unit = in_given_unit(outcome.prediction, pictures, terminal)
    keep = keep_pixels(prediction, pictures, batch.seen, options.masks)
    given = gathered.cameras is not None
    views = to_views(prediction, batch, gathered.names, pictures, keep, given_frame=given)
    facts = (
        *gathered.facts,
        ("model", _model_name(options, backbone)),
        ("passes", outcome.plan.describe()),
        ("unit", unit),
        ("frame", "that of the given cameras" if given else "the first camera"),
    )
    return Made(views=views, root=gathered.root, facts=facts)


def to_scene(gathered: Gathered, batch: Batch) -> Scene:
    """Images, and the known cameras in their pixels.

    Raises ValueError when cameras do not fit the photos.
    """
    intrinsics = gathered.intrinsics(batch.sizes)
    poses = gathered.world_to_camera()
    return Scene(
        images=batch.images,
        world_to_camera=None if poses is None else poses.float(),
        intrinsics=None if intrinsics is None else batch.from_photos(intrinsics).float(),
    )


def predict(
    options: "Reconstruct", backbone: Backbone, scene: Scene, held: int, terminal: Terminal
) -> Outcome:
    """Plan by memory, say what was chosen, and run.

    held: bytes in memory before the weights were loaded.
    """
    plan = make_plan(options.memory, _situation(options, backbone, scene, held))
    for sentence in plan.why:
        terminal.say(sentence)
    if plan.bfloat16:
        backbone = backbone.to(torch.bfloat16)
    height, width = scene.images.shape[-2:]
    needs = f"; about {readable(plan.needs)} of memory" if plan.needs else ""
    terminal.say(f"{plan.views} views of {width} x {height} pixels, {plan.describe()}{needs}")
    outcome = run_plan(backbone, scene, plan, terminal)
    for join in outcome.joins:
        if join.weak:
            terminal.say(
                f"the windows that meet at view {join.first_view + 1} disagree (depths by a factor "
                f"of {join.scale_spread:.2f}); a larger --overlap may help"
            )
    return outcome


def _situation(options: "Reconstruct", backbone: Backbone, scene: Scene, held: int) -> Situation:
    """What the plan must fit. Raises ValueError for a student in another precision."""
    teacher = options.model == "teacher"
    if options.memory.precision == "bfloat16" and not teacher:
        raise ValueError(
            "precision bfloat16 is for --model teacher; a student keeps the precision that it was "
            "trained for"
        )
    device = next(backbone.parameters()).device
    return Situation(
        backbone=backbone.name,
        views=len(scene.images),
        height=scene.images.shape[-2],
        width=scene.images.shape[-1],
        device=str(device),
        held=0 if device.type == "cuda" else held,
        convertible=teacher,
    )


def write(
    options: "Reconstruct", partial: Path, folder: Path, made: Made, terminal: Terminal
) -> int:
    """Write the chosen formats into `partial`, which becomes `folder`; the number of points."""
    everything = PointOptions(
        confidence_percentile=0.0, edge_tolerance=float("inf"), max_points=options.max_points
    )  # views say themselves which pixels to keep
    photos = Path(FRAMES)
    if not made.root.is_relative_to(partial.absolute()):
        photos = Path(os.path.relpath(made.root, folder.absolute()))
    reconstruction = Reconstruction(
        title=folder.name,
        cloud=gather_points(made.views, everything),
        views=made.views,
        photos=photos,
        facts=made.facts,
    )
    for name in options.formats:
        terminal.say(f"writing {name} ...")
        WRITERS[name](partial, reconstruction)
    atomic.write_json(
        partial / MARK,
        {
            "format": "lite3r-reconstruction/1",
            "views": [view.name for view in made.views],
            "points": len(reconstruction.cloud),
            "facts": [list(fact) for fact in made.facts],
            "versions": versions(),
        },
    )
    return len(reconstruction.cloud)


def load_model(model: str, backbone: str, weights: str | None, seed: int, device: str) -> Backbone:
    """A student from its folder, or the dense backbone for "teacher"."""
    where = pick_device(device)
    if model != "teacher":
        return load(model, device=where, weights=weights).backbone
    spec = TeacherSpec(backbone=backbone, weights=weights or default_weights(backbone), seed=seed)
    return spec.load(device=where)


def to_views(
    prediction: Prediction,
    batch: Batch,
    names: Sequence[str],
    pictures: np.ndarray,
    keep: np.ndarray,
    *,
    given_frame: bool,
) -> list[View]:
    """Views for the exporters, in the frame of the first camera unless cameras were given."""
    intrinsics = prediction.intrinsics[0].double()
    originals = batch.to_photos(intrinsics)
    cameras = prediction.world_to_camera[0].double()
    if not given_frame:
        cameras = first_is_origin(cameras)
    return [
        View(
            name=name,
            image=np.ascontiguousarray(pictures[i]),
            depth=prediction.depth[0, i].float().numpy(),
            confidence=prediction.depth_conf[0, i].float().numpy(),
            world_to_camera=cameras[i].numpy(),
            intrinsics=intrinsics[i].numpy(),
            original_intrinsics=originals[i].numpy(),
            original_size=batch.sizes[i],
            keep=keep[i],
        )
        for i, name in enumerate(names)
    ]


def first_is_origin(world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3 4"]:
    """The same cameras in the frame of the first: E_i E_0^-1."""
    bottom = world_to_camera.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(world_to_camera), 1, 4)
    square = torch.cat((world_to_camera, bottom), dim=1)
    return (square @ torch.linalg.inv(square[0]))[:, :3]


def _title(inputs: Sequence[str]) -> str:
    """A name for the reconstruction, after the first input."""
    first = Path(inputs[0]).absolute()
    if first.is_dir():
        return first.name or "scene"
    return first.stem if len(inputs) == 1 and first.is_file() else first.parent.name or "scene"


def _model_name(options: "Reconstruct", backbone: Backbone) -> str:
    return backbone.name if options.model == "teacher" else f"student {options.model}"
