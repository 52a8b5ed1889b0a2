"""A reconstruction from photos to files: what `lite3r reconstruct` does."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone, Prediction

from . import atomic
from .distillation import default_weights, pick_device
from .errors import UserError, reported
from .export import WRITERS, PointOptions, Reconstruction, View, gather_points
from .photos import Batch, common_folder, find_photos, load_batch
from .student import TeacherSpec, load
from .terminal import Terminal

if TYPE_CHECKING:
    from .commands.reconstruct import Reconstruct


def run_reconstruct(options: "Reconstruct", terminal: Terminal) -> None:
    """Find photos, predict, and write the exports into a new folder."""
    with reported():
        paths = spread(find_photos(options.photos), options.max_views)
        folder = options.out or Path("reconstructions") / common_folder(paths).name
        if folder.exists() and not options.overwrite:
            raise UserError(f"{folder} exists already; add --overwrite, or choose another --out")
        atomic.check_writable(folder)
        backbone = load_model(
            options.model, options.backbone, options.weights, options.seed, options.device
        )
        with terminal.progress("reading photos", len(paths)) as advance:
            batch = load_batch(paths, backbone, options.size, advance=advance)
    height, width = batch.images.shape[-2:]
    terminal.say(f"reconstructing {len(paths)} views of {width} x {height} pixels ...")
    views = to_views(predict(backbone, batch.images), batch)
    write(options, folder, views, common_folder(batch.paths), terminal)


def write(
    options: "Reconstruct", folder: Path, views: Sequence[View], root: Path, terminal: Terminal
) -> None:
    """Write the chosen formats, all of them or nothing; `root` holds the photos."""
    cloud = gather_points(
        views,
        PointOptions(
            confidence_percentile=options.confidence_percentile,
            edge_tolerance=options.edge_tolerance,
            max_points=options.max_points,
        ),
    )
    made = Reconstruction(
        title=root.name,
        cloud=cloud,
        views=views,
        photos=Path(os.path.relpath(root, folder.absolute())),
    )
    with reported(), atomic.new_folder(folder, overwrite=options.overwrite) as partial:
        for name in options.formats:
            terminal.say(f"writing {name} ...")
            WRITERS[name](partial, made)
    terminal.result(
        {"out": str(folder), "views": len(views), "points": len(cloud)},
        f"{len(views)} views, {len(cloud):,} points in {folder}",
    )


def load_model(model: str, backbone: str, weights: str | None, seed: int, device: str) -> Backbone:
    """A student from its folder, or the dense backbone for "teacher"."""
    where = pick_device(device)
    if model != "teacher":
        return load(model, device=where, weights=weights).backbone
    spec = TeacherSpec(backbone=backbone, weights=weights or default_weights(backbone), seed=seed)
    return spec.load(device=where)


def predict(backbone: Backbone, images: Float[Tensor, "v 3 y x"]) -> Prediction:
    """Run the network on one scene; the result is on the CPU."""
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        return backbone(images[None].to(device)).to("cpu")


def to_views(prediction: Prediction, batch: Batch) -> list[View]:
    """Views for the exporters, in the frame of the first camera."""
    intrinsics = prediction.intrinsics[0].double()
    originals = batch.to_photos(intrinsics)
    cameras = first_is_origin(prediction.world_to_camera[0].double())
    root = common_folder(batch.paths)
    pictures = (batch.images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return [
        View(
            name=path.absolute().relative_to(root).as_posix(),
            image=np.ascontiguousarray(pictures[i]),
            depth=prediction.depth[0, i].float().numpy(),
            confidence=prediction.depth_conf[0, i].float().numpy(),
            world_to_camera=cameras[i].numpy(),
            intrinsics=intrinsics[i].numpy(),
            original_intrinsics=originals[i].numpy(),
            original_size=batch.sizes[i],
        )
        for i, path in enumerate(batch.paths)
    ]


def first_is_origin(world_to_camera: Float[Tensor, "v 3 4"]) -> Float[Tensor, "v 3 4"]:
    """The same cameras in the frame of the first: E_i E_0^-1."""
    bottom = world_to_camera.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(world_to_camera), 1, 4)
    square = torch.cat((world_to_camera, bottom), dim=1)
    return (square @ torch.linalg.inv(square[0]))[:, :3]


def spread(paths: list[Path], count: int | None) -> list[Path]:
    """At most `count` of the paths, evenly spaced, the first and the last among them."""
    if count is None or len(paths) <= count:
        return paths
    return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]
