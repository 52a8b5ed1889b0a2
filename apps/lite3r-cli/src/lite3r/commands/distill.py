"""`lite3r distill`: from a dense teacher to a light student, with true numbers."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from ..recipes import Recipe, Training
from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Make a light student of a dense teacher, and measure both."""

    backbone: str = "da3-tiny"
    """The teacher; `lite3r info` lists the known ones."""
    weights: str | None = None
    """bundled, hub, random, or a file; bundled for da3-tiny and hub for the others."""
    data: str = "synthetic"
    """synthetic, or a folder of photos of one scene."""
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
    seed: int = 0
    """Decides scenes, order of views, and random weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    recipe: Annotated[Recipe, OmitArgPrefixes] = field(default_factory=Recipe)
    training: Annotated[Training, OmitArgPrefixes] = field(default_factory=Training)
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ValueError(f"views is {self.views}; distillation needs at least 2 of a scene")
        if self.size < 14:
            raise ValueError(f"size is {self.size}; it must be at least 14 pixels, one patch")
        if self.eval_scenes < 1:
            raise ValueError(f"eval_scenes is {self.eval_scenes}; it must be at least 1")

    def run(self) -> None:
        """Check the folder before anything heavy, then do the work."""
        from .. import runs
        from ..terminal import Terminal

        folder = self.out or Path("runs") / self.backbone
        state = runs.check(folder, self.settings(), resume=self.resume, overwrite=self.overwrite)

        from ..distillation import Distillation

        Distillation(self, folder, Terminal(self.output)).run(state)

    def settings(self) -> dict[str, object]:
        """Every choice that the student's weights depend on."""
        values = asdict(self)
        for free in ("out", "resume", "overwrite", "output", "device"):
            del values[free]
        return values
