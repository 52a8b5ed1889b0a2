"""What `lite3r reconstruct` does."""

from pathlib import Path

from lite3r.options.reconstruct import Reconstruct
from lite3r.reconstruct import run as work
from lite3r.reconstruct.run import Plan, title
from lite3r.reconstruct.scenes import run_scenes
from lite3r.shell.environment import pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.student.student import TeacherSpec
from recon_backbones import Masks, PhotoChoice
from recon_backbones.views.options import Memory


def run(asked: Reconstruct, terminal: Terminal) -> None:
    """Reconstruct, and write everything or nothing."""
    plan = plan_of(asked)
    if asked.scenes:
        folder = asked.out or Path("reconstructions")
        found = run_scenes(plan, folder, terminal.words)
        done, own = len(found["scenes"]), len(found["own"])
        terminal.result(found, f"{done} scenes in {folder}, {own} of them by this process")
        return
    folder = asked.out or Path("reconstructions") / title(asked.photos)
    found = work.run(plan, folder, overwrite=asked.overwrite, words=terminal.words)
    count = found["views"]
    shown = f"{count} view{'s' * (count != 1)}, {found['points']:,} points in {folder}"
    terminal.result(found, shown)
    if "html" in asked.formats:
        terminal.say(f"to turn it around: {folder / 'scene.html'}")


def plan_of(asked: Reconstruct) -> Plan:
    """The same as one value, without words of the command line. Raises UserError."""
    metric = None
    if asked.metric_model is not None:
        metric = TeacherSpec.chosen(asked.metric_model, asked.metric_weights, asked.seed)
    pixels = dict(vars(asked.masks))
    with reported():
        Memory(**vars(asked.memory))
        return Plan(
            photos=asked.photos,
            **vars(asked.model) | {"device": pick_device(asked.model.device, apple=True)},
            seed=asked.seed,
            size=asked.size,
            **vars(asked.memory),
            choice=PhotoChoice(**vars(asked.inputs)),
            masks=Masks(folder=pixels.pop("masks"), **pixels),
            cameras=asked.cameras,
            square_pixels=asked.square_pixels,
            shared_camera=asked.shared_camera,
            refine=asked.refine,
            known_distance=asked.known_distance,
            metric=metric,
            formats=asked.formats,
            max_points=asked.max_points,
        )
