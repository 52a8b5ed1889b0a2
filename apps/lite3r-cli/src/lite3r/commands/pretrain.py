"""What `lite3r pretrain` does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from lite3r.options.pretrain import Pretrain
from lite3r.shell.environment import environment
from lite3r.shell.terminal import Terminal
from lite3r.teacher.assess import assess
from lite3r.teacher.parts import parts
from recon_backbones import load_backbone
from recon_backbones.training import Run, Schedule, export_weights, train
from recon_eval.exams import all_exams
from recon_eval.synthetic import Batch, larger, mixed_cycle, small_cycle

NUMBERS = {
    **{"AbsRel": "abs_rel", "delta1": "delta1", "rot": "rotation_degrees"},
    **{"dir": "direction_degrees", "AUC@30": "auc30", "focal x/y": "aspect_error"},
}


def run(asked: Pretrain, terminal: Terminal) -> None:
    """Train, export, measure."""
    terminal.say(f"training; {asked.out / 'log.jsonl'} has the losses")
    train(plan(asked), parts(cycle(asked), world=asked.world))
    weights = asked.out / "da3-tiny.safetensors"
    export_weights(asked.out, weights)
    record = measure(weights, scenes=asked.test_scenes)
    (asked.out / "teacher.json").write_text(json.dumps(record, indent=1) + "\n")
    terminal.result(record, table(record))


def plan(asked: Pretrain) -> Run:
    """Where the training lives, where it starts, and how fast it learns."""
    fresh = asked.start == "random"
    return Run(
        folder=asked.out,
        schedule=Schedule(
            steps=asked.steps,
            minutes=asked.minutes,
            peak=asked.peak or (1.0 if fresh else 0.33),
            decay=0.4 if fresh else 0.9,
        ),
        start=asked.start,
        processes=1 if asked.device != "cpu" else asked.processes,
        device=asked.device,
    )


def cycle(asked: Pretrain) -> tuple[Batch, ...]:
    """What the steps see: small pictures first where it starts from nothing."""
    first = small_cycle() * 8 if asked.start == "random" else ()
    return larger((*first, *mixed_cycle()), asked.larger)


def measure(weights: Path | str, *, scenes: int) -> dict[str, Any]:
    """Measure the teacher and its baselines on unseen scenes, with what they were measured on."""
    backbone = load_backbone("da3-tiny", weights=weights)
    rows = [asdict(grade) for grade in assess(backbone, all_exams(scenes))]
    return {"what": "da3-tiny teacher", "environment": environment(), "rows": rows}


def table(record: dict[str, Any]) -> Table:
    """Lay the measurements out for the screen."""
    shown = Table("predictor", "world", "px", "views", *NUMBERS)
    for row in record["rows"]:
        numbers = ("" if row[name] is None else f"{row[name]:.3f}" for name in NUMBERS.values())
        pixels = f"{row['width']} x {row['height']}"
        shown.add_row(row["predictor"], row["world"], pixels, str(row["views"]), *numbers)
    return shown
