"""`lite3r eval`: a model against the truth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Compare a model with true depth and cameras."""

    model: str = "teacher"
    """A student's folder, as runs/da3-tiny, or teacher for the dense backbone."""
    backbone: str = "da3-tiny"
    """Which dense backbone, with --model teacher."""
    weights: str | None = None
    """The backbone's weights: bundled, hub, random, or a file."""
    data: str = "synthetic"
    """synthetic, or a folder of scenes in the BlendedMVS layout."""
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
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        for name in ("scenes", "views"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.size < 14:
            raise ValueError(f"size is {self.size}; it must be at least 14 pixels, one patch")
        if self.out is not None and self.out.suffix not in (".json", ".md"):
            raise ValueError(f"out is {self.out}; a report ends in .json or .md")

    def run(self) -> None:
        """Measure, and print the means over scenes."""
        from .. import atomic
        from ..errors import reported
        from ..measuring import evaluate, figures
        from ..reconstruct.run import load_model
        from ..report import rich_table
        from ..scenes import ImageSettings, read_scenes
        from ..terminal import Terminal

        terminal = Terminal(self.output)
        with reported():
            if self.out is not None:
                atomic.check_writable(self.out.parent)
            backbone = load_model(self.model, self.backbone, self.weights, self.seed, self.device)
            images = ImageSettings(views=self.views, size=self.size)
            scenes = read_scenes(
                self.data, backbone, count=self.scenes, images=images, seed=self.seed
            )
            with terminal.progress("measuring", len(scenes)) as advance:
                report = evaluate(
                    backbone,
                    scenes,
                    label=self.model,
                    dataset=self.data,
                    seed=self.seed,
                    advance=advance,
                )
            if self.out is not None:
                with atomic.new_file(self.out) as partial:
                    report.save(partial)
        row = figures(report).row(self.model)
        title = f"{self.data}, {len(scenes)} scenes, {self.views} views, {self.size} pixels"
        terminal.result(report.to_dict(), rich_table([row], title))
