"""`lite3r bench`: how fast and how good, beside the dense network, on this machine."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from lite3r.bench.speed import Setting, bench, markdown
from lite3r.commands.options import Device, RecipeOptions
from lite3r.commands.quality import Quality
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import check_least, reported
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.deploy import Backend
from lite3r.student.recipes import Recipe
from recon_eval.efficiency import cost_panels
from recon_eval.report import read_results, svg

WHAT = "lite3r bench speed"

SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Speed:
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
        for size in self.sizes:
            width_and_height(size)

    def run(self) -> None:
        """Measure, print Markdown tables, write the file."""
        terminal = Terminal(self.output)
        recipe = self.recipe.make()
        with reported():
            if self.out is not None:
                atomic.refuse_existing(self.out, overwrite=self.overwrite)
                atomic.check_writable(self.out.parent)
        results = [
            self._measure(recipe, views, size, terminal)
            for size in self.sizes
            for views in self.views
        ]
        document = {
            "what": WHAT,
            "environment": environment(),
            "recipe": recipe.to_dict(),
            "repeats": self.repeats,
            "results": results,
        }
        if self.out is not None:
            atomic.write_json(self.out, document)
        terminal.result(document, markdown(results))

    def _measure(self, recipe: Recipe, views: int, size: str, terminal: Terminal) -> dict[str, Any]:
        width, height = width_and_height(size)
        setting = Setting(
            backbone=self.backbone,
            weights=self.weights,
            views=views,
            height=height,
            width=width,
            seed=self.seed,
        )
        terminal.say(f"{setting} ...")
        with reported():
            device = pick_device(self.device)
            base = setting.load(device)
            setting.check(base)
        return bench(
            setting,
            base,
            recipe,
            backend=self.backend,
            repeats=self.repeats,
            seconds=self.seconds,
            with_compile=not self.no_compile,
            say=terminal.say,
        )


@dataclass(frozen=True, kw_only=True)
class Plot:
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

    def run(self) -> None:
        """Read, draw, write."""
        with reported():
            atomic.refuse_existing(self.out, overwrite=self.overwrite)
            atomic.check_writable(self.out.parent)
            found = read_results(self.results, WHAT)
        atomic.write_text(self.out, svg(cost_panels(found)))
        Terminal(self.output).result({"out": str(self.out)}, f"{self.out}")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure speed, memory and quality on this machine, or draw what was measured."""

    action: OmitSubcommandPrefixes[
        Annotated[Speed, subcommand("speed")]
        | Annotated[Quality, subcommand("quality")]
        | Annotated[Plot, subcommand("plot")]
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()


def width_and_height(size: str) -> tuple[int, int]:
    """Read 518 or 518x392. Raises ValueError for anything else."""
    match = SIZE.fullmatch(size)
    if match is None:
        raise ValueError(
            f"sizes={size}; it must be in pixels: 518 for a square, 518x392 for width x height"
        )
    return int(match[1]), int(match[2] or match[1])
