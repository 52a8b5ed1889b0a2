"""`lite3r pretrain`: train the bundled teacher from nothing, on synthetic scenes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes

from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train da3-tiny from scratch on synthetic scenes, export it, and measure it.

    An interrupted run goes on where it was. The shipped weights took an hour and a half on two CPU
    cores that had other work to do as well.
    """

    out: Path = Path("runs/pretrain")
    """Folder of the training state, its logs, the weights and the measurements."""
    scenes: Path = Path("runs/scenes")
    """Folder of the rendered training scenes, 5 GB."""
    processes: int = 2
    """Training processes, one CPU core each."""
    small_steps: int = 3800
    """Steps at 112 pixels."""
    large_steps: int = 500
    """Steps at 224 pixels."""
    test_scenes: int = 64
    """Unseen scenes that the result is measured on."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        for name in ("processes", "small_steps", "test_scenes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def run(self) -> None:
        """Render, train, export, measure."""
        from ..pretrain.config import da3_tiny_recipe
        from ..pretrain.export import export_weights
        from ..pretrain.loop import pretrain
        from ..pretrain.shards import render_shards
        from ..terminal import Terminal

        terminal = Terminal(self.output)
        config = da3_tiny_recipe(small_steps=self.small_steps, large_steps=self.large_steps)
        for phase in config.phases:
            shards = phase.shards
            with terminal.progress(f"rendering at {shards.size} px", shards.count) as advance:
                for _ in render_shards(self.scenes, shards, workers=self.processes):
                    advance()
        terminal.say(f"training {config.steps} steps; {self.out / 'log.jsonl'} has the losses")
        pretrain(self.out, self.scenes, config, processes=self.processes)
        weights = self.out / "da3-tiny.safetensors"
        export_weights(self.out, weights)
        record = measure(weights, scenes=self.test_scenes)
        (self.out / "teacher.json").write_text(json.dumps(record, indent=1) + "\n")
        terminal.result(record, table(record))


def measure(weights: Path | str, *, scenes: int) -> dict[str, Any]:
    """Measure the teacher and its baselines on unseen scenes, with what they were measured on."""
    from recon_backbones import load_backbone

    from ..environment import environment
    from ..pretrain.assess import as_records, assess

    backbone = load_backbone("da3-tiny", weights=weights)
    rows = list(assess(backbone, sizes=(112, 224), views=(2, 4, 8, 16), scenes=scenes))
    return {"what": "da3-tiny teacher", "environment": environment(), "rows": as_records(rows)}


def table(record: dict[str, Any]) -> Any:
    """Lay the measurements out for the screen."""
    from rich.table import Table

    shown = Table("predictor", "px", "views", "AbsRel", "delta1", "rot", "dir", "AUC@30")
    for row in record["rows"]:
        shown.add_row(*_cells(row))
    return shown


def _cells(row: dict[str, Any]) -> Iterator[str]:
    yield from (row["predictor"], str(row["size"]), str(row["views"]))
    for name in ("abs_rel", "delta1", "rotation_degrees", "direction_degrees", "auc30"):
        yield "" if row[name] is None else f"{row[name]:.3f}"
