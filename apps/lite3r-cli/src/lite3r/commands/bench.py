"""`lite3r bench`: how fast, beside the strongest dense baseline, on this machine."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from ..recipes import Recipe
from ..terminal import Output

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
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    recipe: Annotated[Recipe, OmitArgPrefixes] = field(default_factory=Recipe)
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        if not self.views or min(self.views) < 1:
            raise ValueError(f"views is {self.views}; give numbers of at least 1")
        if self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats}; it must be at least 1")
        if not self.seconds > 0:
            raise ValueError(f"seconds is {self.seconds}; it must be positive")
        if self.out is not None and self.out.suffix != ".json":
            raise ValueError(f"out is {self.out}; results end in .json")
        for size in self.sizes:
            width_and_height(size)

    def run(self) -> None:
        """Measure, print Markdown tables, write the file."""
        from .. import atomic
        from ..bench import markdown
        from ..environment import environment
        from ..errors import UserError, reported
        from ..terminal import Terminal

        terminal = Terminal(self.output)
        if self.out is not None:
            if self.out.exists() and not self.overwrite:
                raise UserError(f"{self.out} exists already; add --overwrite, or choose another")
            with reported():
                atomic.check_writable(self.out.parent)
        results = [
            self._measure(views, size, terminal) for size in self.sizes for views in self.views
        ]
        document = {
            "what": "lite3r bench speed",
            "environment": environment(),
            "recipe": self.recipe.to_dict(),
            "repeats": self.repeats,
            "results": results,
        }
        if self.out is not None:
            atomic.write_json(self.out, document)
        terminal.result(document, markdown(results))

    def _measure(self, views: int, size: str, terminal: Any) -> dict[str, Any]:
        from ..bench import Setting, bench
        from ..environment import pick_device
        from ..errors import reported

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
            return bench(
                setting,
                self.recipe,
                device=pick_device(self.device),
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
            raise ValueError(f"out is {self.out}; a plot ends in .svg")

    def run(self) -> None:
        """Read, draw, write."""
        from .. import atomic
        from ..bench.plot import draw, read_results
        from ..errors import UserError, reported
        from ..terminal import Terminal

        if self.out.exists() and not self.overwrite:
            raise UserError(f"{self.out} exists already; add --overwrite, or choose another")
        with reported():
            atomic.check_writable(self.out.parent)
            atomic.write_text(self.out, draw(read_results(self.results)))
        Terminal(self.output).result({"out": str(self.out)}, f"{self.out}")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure speed and memory on this machine, or draw what was measured."""

    action: OmitSubcommandPrefixes[
        Annotated[Speed, subcommand("speed")] | Annotated[Plot, subcommand("plot")]
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()


def width_and_height(size: str) -> tuple[int, int]:
    """Read 518 or 518x392. Raises ValueError for anything else."""
    match = SIZE.fullmatch(size)
    if match is None:
        raise ValueError(
            f"sizes holds {size!r}; write 518 for a square, 518x392 for width x height"
        )
    return int(match[1]), int(match[2] or match[1])
