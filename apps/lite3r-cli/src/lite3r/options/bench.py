"""`lite3r bench`: how fast and how good, beside the dense network, on this machine."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from lite3r.bench.images import ImageSettings
from lite3r.options.groups import Device, RecipeOptions
from lite3r.shell.command import Command
from lite3r.shell.errors import check_least
from lite3r.shell.terminal import Output
from lite3r.student.kinds import Backend

SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Speed(Command, work="lite3r.commands.bench:speed"):
    """Time dense and light variants of a backbone in turn, each checked before it is timed."""

    backbone: str = "da3-tiny"
    """Which architecture."""
    weights: str = "random"
    """random, bundled, hub, or a file; the speed does not depend on it, and the result says it."""
    views: tuple[int, ...] = (2, 8)
    """Numbers of views."""
    sizes: tuple[str, ...] = ("224",)
    """Sizes of an image in pixels, as 518 for a square or 518x392 for width x height."""
    repeats: int = 5
    """Timed rounds, after one that is not timed."""
    seconds: float = 60.0
    """What the timed rounds of one setting may take; fewer are made where they take longer."""
    no_compile: bool = False
    """Leave the compiled variants out."""
    out: Path | None = None
    """Also write every repetition, with hardware, versions and commit, as this .json file."""
    overwrite: bool = False
    """Replace that file."""
    seed: int = 0
    """Decides images and random weights."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    backend: Backend = "auto"
    """What multiplies the FP8 layers; auto is scaled_mm, and no FP8 row where none can run."""
    recipe: Annotated[RecipeOptions, OmitArgPrefixes] = field(default_factory=RecipeOptions)
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if not self.views or min(self.views) < 1:
            raise ValueError(f"views={self.views}; numbers must be at least 1: 8 is usual")
        check_least(self, 1, "repeats")
        if not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds}; it must be positive: 60 are usual")
        if self.out is not None and self.out.suffix != ".json":
            raise ValueError(f"out={self.out}; results must end in .json: rename it")
        if not self.sizes:
            raise ValueError("sizes=(); some must be named: 224 is usual")
        for size in self.sizes:
            width_and_height(size)


@dataclass(frozen=True, kw_only=True)
class Quality(Command, work="lite3r.commands.quality:run"):
    """Compare students with their dense teacher on the same scenes, and say what earned what.

    Two judges: the truth of synthetic scenes, and, with --photos, the change against the dense
    network. Results are kept in --out as they are made; the same command goes on with them.
    """

    rows: Literal["cheap", "full", "study", "rounded", "taught"] = "cheap"
    """Dense and seven rows, all of them, one setting of the content order changed at a time, FP8
    weights to suit their inputs beside the nearest, or those that are trained: what trains, towards
    what, with FP8 or before it, and as the paper does it."""
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
        for views in self.views or (2,):
            ImageSettings(views=views, size=self.size)
        if self.scenes is not None and self.scenes < 2:
            raise ValueError(f"scenes={self.scenes}; intervals need at least 2: 24 is usual")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps}; rows that train make at least 1: 80 is usual")
        if self.out.suffix != ".json":
            raise ValueError(f"out={self.out}; results must end in .json: rename it")


@dataclass(frozen=True, kw_only=True)
class Plot(Command, work="lite3r.commands.bench:plot"):
    """Draw the results of `lite3r bench speed` as an SVG: latency and memory over views."""

    results: Positional[Path]
    """The .json file that `lite3r bench speed --out` wrote."""
    out: Path
    """The .svg file to write."""
    overwrite: bool = False
    """Replace that file."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.out.suffix != ".svg":
            raise ValueError(f"out={self.out}; a plot must end in .svg: rename it")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure speed, memory and quality on this machine, or draw what was measured."""

    action: OmitSubcommandPrefixes[
        Annotated[Speed, subcommand("speed")]
        | Annotated[Quality, subcommand("quality")]
        | Annotated[Plot, subcommand("plot")]
    ]


def width_and_height(size: str) -> tuple[int, int]:
    """Read 518 or 518x392. Raises ValueError for anything else."""
    match = SIZE.fullmatch(size)
    if match is None:
        raise ValueError(
            f"sizes={size}; it must be in pixels: 518 for a square, 518x392 for width x height"
        )
    return int(match[1]), int(match[2] or match[1])
