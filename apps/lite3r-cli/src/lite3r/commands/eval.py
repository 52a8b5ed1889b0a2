"""`lite3r eval`: a model against the truth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from lite3r.bench.metrics import METRICS
from lite3r.bench.quality import evaluate
from lite3r.bench.scenes import ImageSettings
from lite3r.commands.options import ModelOptions
from lite3r.shell import atomic
from lite3r.shell.environment import pick_device
from lite3r.shell.errors import reported
from lite3r.shell.tables import rich_table
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.deploy import load_model
from recon_eval import PROTOCOLS, Protocol, means
from recon_eval.data import read_scenes, scan_list


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Compare a model with true depth and cameras."""

    model: Annotated[ModelOptions, OmitArgPrefixes] = field(default_factory=ModelOptions)
    data: str = "synthetic"
    """synthetic, or a folder of scenes: of BlendedMVS, or of DTU with --scans."""
    scans: str | None = None
    """Scans of a folder of DTU: dtu64, mvsnet_test, surface_15, views_15, or numbers as 1,4,9."""
    protocol: Protocol = "median"
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
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        ImageSettings(views=self.views, size=self.size)
        if self.scans is not None:
            scan_list(self.scans)
        if self.scenes < 1:
            raise ValueError(f"scenes={self.scenes}; it must be at least 1: 24 is usual")
        if self.out is not None and self.out.suffix not in (".json", ".md"):
            raise ValueError(f"out={self.out}; a report must end in .json or .md: rename it")

    def run(self) -> None:
        """Measure, and print the means over scenes."""
        terminal, chosen = Terminal(self.output), self.model
        with reported():
            if self.out is not None:
                atomic.check_writable(self.out.parent)
            how = vars(chosen) | {"device": pick_device(chosen.device)}
            model = load_model(**how, seed=self.seed)
            patch = model.backbone.patch_size
            scenes = read_scenes(
                self.data,
                count=self.scenes,
                views=self.views,
                size=self.size // patch * patch,
                seed=self.seed,
                scans=self.scans,
            )
        terminal.say(f"{model.name}: {model.ran}")
        with terminal.progress("measuring", len(scenes)) as advance:
            report = evaluate(
                model.backbone,
                scenes,
                model=f"{model.name} ({model.ran})",
                dataset=self.data,
                seed=self.seed,
                protocol=self.protocol,
                advance=advance,
            )
        if self.out is not None:
            with reported(), atomic.new_file(self.out) as partial:
                report.save(partial)
        title = f"{self.data}, {len(scenes)} scenes, {self.views} views, {self.size} pixels"
        row = {"label": chosen.model, **means(report, self.protocol)}
        columns = METRICS if self.protocol == "median" else PROTOCOLS["paper"].columns
        terminal.result(report.to_dict(), rich_table(columns, [row], title))
