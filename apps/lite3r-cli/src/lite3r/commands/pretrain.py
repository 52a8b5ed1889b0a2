"""What `lite3r pretrain` does."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.resume.hold import held_alone
from lite3r.options.pretrain import Pretrain
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.teacher.assess import assess
from lite3r.teacher.parts import parts
from recon_backbones import load_backbone
from recon_backbones.training import Run, Schedule, begin, export_weights, pupil_of, train
from recon_eval.exams import all_exams, markdown
from recon_eval.synthetic import Batch, larger, mixed_cycle, small_cycle


def run(asked: Pretrain, terminal: Terminal) -> None:
    """Train, export, measure."""
    with reported():
        atomic.check_writable(asked.out)
        planned = plan(asked)
        pupil_of(begin(planned.backbone, planned.start, seed=asked.seed))  # before processes start
    terminal.say(f"training; {asked.out / 'log.jsonl'} has the losses")
    said = ("distill.resume.hold", "recon_backbones.training.state")
    checks = reported(ValueError, OSError, FloatingPointError, of=said)
    with checks, held_alone(asked.out, writes=True):
        train(planned, parts(cycle(asked), world=asked.world, seed=asked.seed))
        weights = asked.out / f"{asked.backbone}.safetensors"
        export_weights(asked.out, weights)
    record = measure(asked.backbone, weights, scenes=asked.test_scenes)
    atomic.write_json(asked.out / "teacher.json", record)
    terminal.result(record, markdown(record["rows"]))


def plan(asked: Pretrain) -> Run:
    """Where the training lives, where it starts, and how fast it learns.

    Raises ValueError for numbers that no run has, and a device that is not there.
    """
    peak = 1.0 if asked.start == "random" else 0.4
    return Run(
        folder=asked.out,
        schedule=Schedule(
            steps=asked.steps if asked.minutes is None else 10**9,  # the clock ends it
            minutes=asked.minutes,
            peak=peak if asked.peak is None else asked.peak,
            seed=asked.seed,
        ),
        backbone=asked.backbone,
        start=asked.start,
        processes=1 if asked.device != "cpu" else asked.processes,
        device=pick_device(asked.device),
    )


def cycle(asked: Pretrain) -> tuple[Batch, ...]:
    """What the steps see: small pictures first where it starts from nothing."""
    first = small_cycle() * 8 if asked.start == "random" else ()
    return larger((*first, *mixed_cycle()), asked.larger)


def measure(name: str, weights: Path | str, *, scenes: int) -> dict[str, Any]:
    """Measure the teacher and its baselines on unseen scenes, with what they were measured on."""
    backbone = load_backbone(name, weights=weights)
    rows = [asdict(grade) for grade in assess(backbone, all_exams(scenes))]
    return {"what": f"{name} teacher", "environment": environment(), "rows": rows}
