"""`lite3r pretrain`: train the bundled teacher on scenes drawn here."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table
from tyro.conf import OmitArgPrefixes

from lite3r.shell.environment import environment
from lite3r.shell.terminal import Output, Terminal
from lite3r.teacher.assess import assess
from lite3r.teacher.parts import parts
from recon_backbones import load_backbone
from recon_backbones.training import Run, Schedule, export_weights, train
from recon_eval.exams import all_exams
from recon_eval.synthetic import Batch, larger, mixed_cycle, small_cycle


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train da3-tiny on synthetic scenes, export it, and measure it.

    It goes on from the bundled weights unless told otherwise. Scenes are rendered on the device
    while it trains. An interrupted run goes on where it was.
    """

    start: Annotated[str, tyro.conf.arg(name="from")] = "bundled"
    """Weights to start from: bundled, random, or a file."""
    out: Path = Path("runs/pretrain")
    """Folder of the training state, its logs, the weights and the measurements."""
    steps: int = 4000
    """Steps of the whole run."""
    minutes: float | None = None
    """End after so many minutes of training instead, annealed whatever was reached."""
    world: float = 0.5
    """Share of scenes from the rich world; the others are rooms."""
    peak: float | None = None
    """Highest learning rate, as a part of the full one; 0.33 on trained weights, else 1."""
    device: str = "cpu"
    """Device that renders and trains: cpu or cuda."""
    processes: int = 2
    """Training processes, one CPU core each; 1 on a GPU."""
    larger: int = 1
    """So many times the scenes in each step, for a GPU that has room for them."""
    test_scenes: int = 64
    """Unseen scenes that the result is measured on."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def __post_init__(self) -> None:
        for name in ("processes", "steps", "test_scenes", "larger"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1: raise it")

    def run(self) -> None:
        """Train, export, measure."""
        terminal = Terminal(self.output)
        terminal.say(f"training; {self.out / 'log.jsonl'} has the losses")
        train(self.plan(), parts(self.cycle(), world=self.world))
        weights = self.out / "da3-tiny.safetensors"
        export_weights(self.out, weights)
        record = measure(weights, scenes=self.test_scenes)
        (self.out / "teacher.json").write_text(json.dumps(record, indent=1) + "\n")
        terminal.result(record, table(record))

    def plan(self) -> Run:
        """Where the training lives, where it starts, and how fast it learns."""
        fresh = self.start == "random"
        return Run(
            folder=self.out,
            schedule=Schedule(
                steps=self.steps,
                minutes=self.minutes,
                peak=self.peak or (1.0 if fresh else 0.33),
                decay=0.4 if fresh else 0.9,
            ),
            start=self.start,
            processes=1 if self.device != "cpu" else self.processes,
            device=self.device,
        )

    def cycle(self) -> tuple[Batch, ...]:
        """What the steps see: small pictures first where it starts from nothing."""
        first = small_cycle() * 8 if self.start == "random" else ()
        return larger((*first, *mixed_cycle()), self.larger)


def measure(weights: Path | str, *, scenes: int) -> dict[str, Any]:
    """Measure the teacher and its baselines on unseen scenes, with what they were measured on."""
    backbone = load_backbone("da3-tiny", weights=weights)
    rows = [asdict(grade) for grade in assess(backbone, all_exams(scenes))]
    return {"what": "da3-tiny teacher", "environment": environment(), "rows": rows}


def table(record: dict[str, Any]) -> Table:
    """Lay the measurements out for the screen."""
    names = ("AbsRel", "delta1", "rot", "dir", "AUC@30", "focal x/y")
    shown = Table("predictor", "world", "px", "views", *names)
    for row in record["rows"]:
        shown.add_row(*_cells(row))
    return shown


def _cells(row: dict[str, Any]) -> Iterator[str]:
    pixels = f"{row['width']} x {row['height']}"
    yield from (row["predictor"], row["world"], pixels, str(row["views"]))
    numbers = ("abs_rel", "delta1", "rotation_degrees", "direction_degrees", "auc30")
    for name in (*numbers, "aspect_error"):
        yield "" if row[name] is None else f"{row[name]:.3f}"
