"""`lite3r eval`: a model against the truth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from lite3r.bench.images import ImageSettings
from lite3r.options.groups import ModelOptions
from lite3r.shell.command import Command
from lite3r.shell.terminal import Output


@dataclass(frozen=True, kw_only=True)
class Eval(Command, work="lite3r.commands.eval:run"):
    """Compare a model with true depth and cameras."""

    model: Annotated[ModelOptions, OmitArgPrefixes] = field(default_factory=ModelOptions)
    data: str = "synthetic"
    """synthetic, or a folder of scenes: of BlendedMVS, or of DTU with --scans."""
    scans: str | None = None
    """Scans of a folder of DTU: dtu64, mvsnet_test, surface_15, views_15, or numbers as 1,4,9."""
    protocol: Literal["median", "paper"] = "median"
    """What is measured: one median scale a scene and all pairs of views, or what the code of
    Lite3R's paper measures, with its flaws."""
    scenes: int = 24
    """How many scenes."""
    views: int = 8
    """Views of one scene."""
    size: int = 224
    """Side of the square that images are covered by and cropped to, in pixels."""
    seed: int = 0
    """Decides synthetic scenes, the choice of views, and random weights."""
    out: Path | None = None
    """Also write the report, every scene's numbers in it, as this .json or .md file."""
    overwrite: bool = False
    """Replace that file."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        ImageSettings(views=self.views, size=self.size)
        if self.scenes < 1:
            raise ValueError(f"scenes={self.scenes}; it must be at least 1: 24 is usual")
        if self.scans is not None and self.data == "synthetic":
            raise ValueError(f"scans={self.scans}; drawn scenes have none: name DTU with --data")
        if self.out is not None and self.out.suffix not in (".json", ".md"):
            raise ValueError(f"out={self.out}; a report must end in .json or .md: rename it")
