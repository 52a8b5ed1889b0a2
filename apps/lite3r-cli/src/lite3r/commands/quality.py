"""`lite3r bench quality`: what each part of the recipe is worth, on the same scenes, paired."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from lite3r.bench.scenes import ImageSettings
from lite3r.commands.options import Device
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.student import TeacherSpec
from lite3r.study.prepare import kept_on
from lite3r.study.quality import Question, measure, middle
from recon_eval.ablation import markdown, panels
from recon_eval.report import svg

CHEAP = (24, (8,))  # scenes, views
FULL = (64, (2, 8, 16, 32))


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Compare students with their dense teacher on the same scenes, and say what earned what.

    Two judges: the truth of synthetic scenes, and, with --photos, the change against the dense
    network. Results are kept in --out as they are made; the same command goes on with them.
    """

    rows: Literal["cheap", "full", "study", "rounded", "taught"] = "cheap"
    """Seven rows, all of them, one setting of the content order changed at a time, FP8 weights to
    suit their inputs beside the nearest, or those that are trained: what trains, towards what, with
    FP8 or before it, and as the paper does it."""
    full: bool = False
    """All rows, 64 scenes, 2, 8, 16 and 32 views, unless other options say otherwise."""
    scenes: int | None = None
    """Scenes for each number of views; 24, and 64 with --full."""
    views: tuple[int, ...] = ()
    """Numbers of views; 8, and 2 8 16 32 with --full."""
    size: int = 224
    """Side of an image in pixels."""
    backbone: str = "da3-tiny"
    """Which dense backbone."""
    weights: str | None = None
    """Its weights: bundled, hub, random, or a file."""
    students: tuple[Path, ...] = ()
    """Folders of trained students, each a row of its own."""
    photos: tuple[Path, ...] = ()
    """Folders of photos of one scene each."""
    steps: int | None = None
    """Optimizer steps of the rows that are trained; their own, mostly 80, unless given."""
    out: Path = Path("quality.json")
    """The .json file of all results; the plots stand beside it as .svg, trained rows in a folder
    that ends in -students."""
    overwrite: bool = False
    """Measure anew what that file holds."""
    seed: int = 0
    """Decides scenes and random weights."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        question = self.question()
        for views in question.views:
            ImageSettings(views=views, size=self.size)
        if question.scenes < 2:
            raise ValueError(f"scenes={question.scenes}; intervals need at least 2: 24 is usual")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps}; rows that train make at least 1: 80 is usual")
        if self.out.suffix != ".json":
            raise ValueError(f"out={self.out}; results must end in .json: rename it")

    def question(self) -> Question:
        """What is asked, without words of the command line."""
        scenes, views = FULL if self.full else CHEAP
        return Question(
            rows="full" if self.full and self.rows == "cheap" else self.rows,
            scenes=scenes if self.scenes is None else self.scenes,
            views=self.views or views,
            size=self.size,
            seed=self.seed,
            students=self.students,
            photos=self.photos,
            steps=self.steps,
            kept=self.out.with_name(f"{self.out.stem}-students"),
        )

    def run(self) -> None:
        """Measure, print tables and the verdict, write the file and the plots."""
        terminal, question = Terminal(self.output), self.question()
        spec = TeacherSpec.chosen(self.backbone, self.weights, self.seed)
        with reported():
            atomic.check_writable(self.out.parent)
            teacher = spec.load(device=pick_device(self.device))
            what, setting = "lite3r bench quality", {"size": self.size, "seed": self.seed}
            setting |= {} if self.steps is None else {"steps": self.steps}
            kept = kept_on(teacher, self.out, what, anew=self.overwrite, **setting)
            document = measure(question, teacher, kept, terminal.words)
        kept.save(environment=environment(), backbone=self.backbone)
        atomic.write_text(self.out.with_suffix(".svg"), svg(panels(document, middle(question))))
        terminal.result(document, markdown(document))
