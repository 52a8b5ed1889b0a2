"""`lite3r bench`: how fast, beside the strongest dense baseline, on this machine."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from ..recipes import Recipe
from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Time dense and light variants of a backbone in turn, on this machine."""

    backbone: str = "da3-tiny"
    """Which architecture."""
    weights: str = "random"
    """random, bundled, hub, or a file; the speed does not depend on it."""
    views: tuple[int, ...] = (2, 8)
    """Numbers of views."""
    height: int = 224
    """Height of an image in pixels."""
    width: int = 224
    """Width of an image in pixels."""
    repeats: int = 5
    """Timed rounds, after one that is not timed."""
    no_compile: bool = False
    """Leave the compiled baseline out."""
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
        if self.out is not None and self.out.suffix != ".json":
            raise ValueError(f"out is {self.out}; results end in .json")

    def run(self) -> None:
        """Measure, print Markdown tables, write the file."""
        import torch

        from .. import atomic
        from ..benching import bench, markdown
        from ..distillation import pick_device
        from ..environment import environment
        from ..errors import UserError, reported
        from ..terminal import Terminal

        terminal, device = Terminal(self.output), pick_device(self.device)
        if self.out is not None:
            if self.out.exists() and not self.overwrite:
                raise UserError(f"{self.out} exists already; add --overwrite, or choose another")
            with reported():
                atomic.check_writable(self.out.parent)
        tables = {}
        for views in self.views:
            setting = f"{self.backbone}, {views} views, {self.width} x {self.height}"
            terminal.say(f"{setting} ...")
            generator = torch.Generator().manual_seed(self.seed)
            images = torch.rand(1, views, 3, self.height, self.width, generator=generator)
            with reported():
                tables[setting] = bench(
                    self.backbone,
                    self.weights,
                    images,
                    self.recipe,
                    device=device,
                    repeats=self.repeats,
                    with_compile=not self.no_compile,
                    seed=self.seed,
                )
        document = {
            "what": "lite3r bench",
            "environment": environment(),
            "weights": self.weights,
            "recipe": self.recipe.to_dict(),
            "tables": tables,
        }
        if self.out is not None:
            atomic.write_json(self.out, document)
        terminal.result(document, markdown(tables))
