"""The teacher's training step: how fast a GPU renders scenes and learns from them."""

import shutil
import time
from dataclasses import replace
from functools import partial
from typing import Any

from gpu.clock import wall
from gpu.record import Record
from gpu.setting import Setting
from lite3r.teacher.parts import parts
from recon_backbones.training import Run, Schedule
from recon_backbones.training import train as train_teacher
from recon_eval.synthetic import Batch, FreshScenes, larger, mixed_cycle

WARM_UP = 2  # steps
WORLD = 0.5  # share of scenes of the rich world


def measure(setting: Setting, record: Record) -> None:
    """The usual batches, and such with many more scenes."""
    if setting.rehearse:
        tiny = (Batch(height=28, width=28, views=2, scenes=1),)
        record.row({"scenes": 1}, partial(train, tiny, 2, setting))
        return
    for times, steps in ((1, 18), (8, 18)):
        record.row(
            {"times_the_scenes": times},
            partial(train, larger(mixed_cycle(), times), steps, setting),
        )


def train(cycle: tuple[Batch, ...], steps: int, setting: Setting) -> dict[str, Any]:
    """Seconds a step, and of them seconds that rendering takes."""
    made = parts(cycle, world=WORLD)
    folder = setting.out / "teacher-state"
    shutil.rmtree(folder, ignore_errors=True)
    start = Run(
        folder=folder, schedule=Schedule(steps=10_000), device=setting.device, until=WARM_UP
    )
    train_teacher(start, made)
    began = time.monotonic()
    train_teacher(replace(start, until=WARM_UP + steps), made)
    spent = time.monotonic() - began
    scenes = FreshScenes(cycle, world=WORLD, device=setting.device)
    rendering = [
        wall(partial(scenes.batch, step), setting.device) for step in range(min(steps, len(cycle)))
    ]
    shutil.rmtree(folder, ignore_errors=True)
    views = [b.views * b.scenes for b in (cycle[(WARM_UP + i) % len(cycle)] for i in range(steps))]
    return {
        "steps": steps,
        "seconds_a_step": spent / steps,
        "rendering_seconds_a_step": sum(rendering) / len(rendering),
        "views_per_second": sum(views) / spent,
    }
