"""`lite3r tune`: the cheapest recipe that stays near the dense network on a user's photos."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from lite3r.bench.scenes import ImageSettings, half_of, photo_sets
from lite3r.commands.options import Device
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Output, Terminal
from lite3r.student import recipe_file
from lite3r.student.student import TeacherSpec
from lite3r.study.prepare import kept_on
from lite3r.study.tune import Allowed, markdown, panels, tune
from recon_eval.report import svg

RECIPE, MEASURED, TABLE, PLOT = "recipe.json", "measured.json", "tune.md", "tune.svg"


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Find the cheapest recipe whose answers stay near the dense network's, on your photos.

    No truth is needed. Candidates that were measured are not measured again.
    """

    data: Path
    """A folder of photos of one scene; every second set of views is held out and decides."""
    backbone: str = "da3-tiny"
    """Which dense backbone; `lite3r info` lists the known ones."""
    weights: str | None = None
    """Its weights: bundled, hub, random, or a file."""
    allow: float = 0.01
    """Allowed change of depth against the dense network: the median over pixels."""
    allow_pose: float = 0.2
    """Allowed change of cameras: what AUC@30, the dense network's being the truth, misses of 1."""
    views: int | None = None
    """Photos of one set: as many as you will reconstruct at once; half of all unless given."""
    size: int = 224
    """Longer side of an image in pixels; aspect ratios are kept."""
    out: Path | None = None
    """Folder of recipe.json, measured.json, tune.md, tune.svg; runs/tune-BACKBONE unless given."""
    overwrite: bool = False
    """Measure anew what that folder holds."""
    seed: int = 0
    """Decides random weights."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        Allowed(depth=self.allow, pose=self.allow_pose)
        if self.views is not None:
            ImageSettings(views=self.views, size=self.size)

    def run(self) -> None:
        """Measure, choose, write."""
        terminal = Terminal(self.output)
        folder = self.out or Path("runs") / f"tune-{self.backbone}"
        spec = TeacherSpec.chosen(self.backbone, self.weights, self.seed)
        with reported():
            atomic.check_writable(folder)
            views = self.views or half_of(self.data)
            teacher = spec.load(device=pick_device(self.device))
            sets = photo_sets(self.data, teacher, size=self.size, views=views)
            kept = kept_on(
                teacher,
                folder / MEASURED,
                "lite3r tune",
                anew=self.overwrite,
                photos=str(self.data),
                views=views,
                size=self.size,
            )
            allowed = Allowed(depth=self.allow, pose=self.allow_pose)
            found = tune(teacher, sets, allowed, kept, terminal.words)
        kept.save(environment=environment(), rows=list(found.rows), layers=list(found.layers))
        table = markdown(found)
        atomic.write_text(folder / TABLE, table)
        atomic.write_text(folder / PLOT, svg(panels(found)))
        if found.choice is not None:
            recipe_file.write(
                folder / RECIPE,
                found.choice.fields,
                found_on={
                    **kept.document["setting"],
                    "allow": self.allow,
                    "allow_pose": self.allow_pose,
                },
            )
        else:
            (folder / RECIPE).unlink(missing_ok=True)
        terminal.result(kept.document, table)
        terminal.say(
            f"recipe: {folder / RECIPE}"
            if found.choice
            else f"no cheaper candidate stays within allow={self.allow}, "
            f"allow_pose={self.allow_pose}; {folder / TABLE} shows how near each comes: allow "
            "more, or give more views"
        )
