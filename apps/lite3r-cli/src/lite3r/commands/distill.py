"""`lite3r distill`: from a dense teacher to a light student, with true numbers."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes

from distill import Training
from lite3r.bench.metrics import METRICS
from lite3r.bench.scenes import ImageSettings
from lite3r.commands.options import Device, RecipeOptions
from lite3r.distillation import folder as folders
from lite3r.distillation.plan import Plan
from lite3r.distillation.run import run
from lite3r.shell.environment import pick_device
from lite3r.shell.tables import rich_table
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.deploy import Backend, Precision
from lite3r.student.student import TeacherSpec


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Make a light student of a dense teacher, and measure both."""

    backbone: str = "da3-tiny"
    """The teacher; `lite3r info` lists the known ones."""
    weights: str | None = None
    """bundled, hub, random, or a file; bundled for da3-tiny and hub for the others."""
    data: str = "synthetic"
    """synthetic, or a folder of photos of one scene, some of which are held out to measure on."""
    photos: tuple[Path, ...] = ()
    """Folders of photos of one scene each: the report shows what each model makes of them."""
    out: Path | None = None
    """Folder of the run; runs/BACKBONE unless given."""
    resume: bool = False
    """Continue the run in that folder."""
    overwrite: bool = False
    """Replace the run in that folder."""
    views: int = 8
    """Views of one scene."""
    size: int = 224
    """Longer side of an image in pixels; aspect ratios are kept."""
    eval_scenes: int = 24
    """Unseen scenes that teacher and student are measured on."""
    many_views: int = 32
    """Views of larger scenes that both are measured on as well; 0 leaves them out."""
    many_scenes: int = 4
    """How many of these."""
    seed: int = 0
    """Decides scenes, order of views, and random weights."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    backend: Backend = "auto"
    """What multiplies the FP8 layers of the deployed student that is measured."""
    precision: Precision = "auto"
    """Its number type; auto is bfloat16 where the device multiplies it fast."""
    recipe: Annotated[RecipeOptions, OmitArgPrefixes] = field(default_factory=RecipeOptions)
    training: Annotated[Training, OmitArgPrefixes] = field(default_factory=Training)
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        ImageSettings(views=self.views, size=self.size)
        if self.eval_scenes < 1:
            raise ValueError(f"eval_scenes={self.eval_scenes}; it must be at least 1: 24 is usual")
        if self.many_views < 0 or self.many_views == 1 or self.many_scenes < 1:
            raise ValueError(
                f"many_views={self.many_views}, many_scenes={self.many_scenes}; at least 2 views "
                "and 1 scene are measured: --many-views 0 leaves them out"
            )
        self.training.of(self.recipe.make().trainable)

    def run(self) -> None:
        """Check the folder before anything heavy, then do the work."""
        terminal = Terminal(self.output)
        folder = self.out or Path("runs") / self.backbone
        plan = self.plan()
        state = folders.check(folder, plan.settings, resume=self.resume, overwrite=self.overwrite)
        report = run(plan, folder, state, terminal.words)
        terminal.say(report["summary"])
        terminal.say(report.get("about", ""))
        terminal.result(report, rich_table(METRICS, report["rows"], dict(report["facts"])["data"]))
        terminal.say(f"report: {folder / 'report.html'}")

    def plan(self) -> Plan:
        """The same as one value, without words of the command line."""
        recipe = self.recipe.make()
        return Plan(
            teacher=TeacherSpec.chosen(self.backbone, self.weights, self.seed),
            recipe=recipe,
            training=self.training.of(recipe.trainable),
            data=self.data,
            images=ImageSettings(views=self.views, size=self.size),
            judged=self.eval_scenes,
            photos=self.photos,
            many_views=self.many_views,
            many_scenes=self.many_scenes,
            seed=self.seed,
            device=pick_device(self.device),
            backend=self.backend,
            precision=self.precision,
            settings=self.settings(),
        )

    def settings(self) -> dict[str, Any]:
        """Every choice that the student's weights depend on."""
        names = ("backbone", "weights", "data", "views", "size", "eval_scenes", "seed")
        chosen = {name: getattr(self, name) for name in names}
        recipe = self.recipe.make()
        return chosen | {
            "recipe": recipe.to_dict(),
            "training": asdict(self.training.of(recipe.trainable)),
        }
