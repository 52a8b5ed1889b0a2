"""Whole backbones with random weights: dense and ours, eager and compiled, time and memory."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gpu.building import CAPTURED, COMPILED, EAGER, VARIANTS, blocks_compiled, dense, variant
from gpu.clock import timed, wall
from gpu.record import Record
from gpu.setting import Setting
from recon_backbones import CapturedBackbone
from recon_backbones.views.memory import Work, footprint
from recon_eval.efficiency import weight_bytes

VIEWS = (2, 8, 32, 100, 300)
SIZE = (518, 518)  # height and width; 1369 patches a view, as VGGT was trained
MOST_CAPTURED = 32  # views: longer work hides its launches, and a graph holds its memory
LONG = 300  # views from which dense attention takes half a minute a call
TINY = {"da3-large": "da3-tiny", "vggt-1b": "vggt-tiny"}


def measure(setting: Setting, record: Record) -> None:
    """All variants at each number of views: what needs no compiling first, few views first."""
    name = TINY[setting.step] if setting.rehearse else setting.step
    base = dense(name, setting.device)
    made: dict[str, nn.Module] = {}
    work = Work(views=1, height=SIZE[0], width=SIZE[1], head_chunk=8, bytes_per_value=2)
    if setting.rehearse:
        work = replace(work, height=56, width=84)
    for views, what in pairs(setting, EAGER if name == "vggt-tiny" else VARIANTS):
        key = {"backbone": name, "views": views, "variant": what}
        run = partial(one, what, base, made, replace(work, views=views), setting)
        record.row(key, run)


def pairs(setting: Setting, variants: Sequence[str]) -> list[tuple[int, str]]:
    """Numbers of views and variants, in order of worth: a limit cuts off the last."""
    kinds = [[what for what in variants if (what in COMPILED) == compiled] for compiled in (0, 1)]
    if setting.rehearse:
        return [(2, what) for kind in kinds for what in kind]
    short = [(v, what) for kind in kinds for v in VIEWS if v < LONG for what in kind]
    long = [(v, what) for v in VIEWS if v >= LONG for kind in kinds for what in kind]
    long.sort(key=lambda pair: pair[1].startswith("dense"))
    return [(v, what) for v, what in short + long if not (what in CAPTURED and v > MOST_CAPTURED)]


def one(
    what: str,
    base: Any,
    made: dict[str, nn.Module],
    work: Work,
    setting: Setting,
) -> dict[str, Any]:
    """One row; a variant is built when it is first asked for, and kept.

    What is captured is what was compiled; first calls, which compile and capture, are not timed.
    """
    build_seconds = 0.0
    built = what.replace("captured", "compiled")
    if built not in made:
        build_seconds = wall(
            lambda: made.update({built: variant(built, base, setting)}), setting.device
        )
    model: Any = made[built]
    shape = (1, work.views, 3, work.height, work.width)
    images = torch.rand(shape, device=setting.device).to(base_dtype(base))
    run = call(model, images)
    with torch.inference_mode():
        if what in COMPILED:
            build_seconds += wall(run, setting.device)
        if what in CAPTURED:
            model = CapturedBackbone(model, most=1)
            run = call(model, images)
            build_seconds += wall(lambda: (run(), run()), setting.device)
        found = timed(run, setting.device, seconds=0.5)
    planned = footprint(base.name, work, device="cuda")
    gc.collect()
    return found | {
        "views_per_second": 1e3 * work.views / found["ms"],
        "build_seconds": build_seconds,
        "weights_bytes": weight_bytes(made[built]),
        "predicted_peak_bytes": planned.activations,
        "captured": model.last if what in CAPTURED else None,
        "compiled": what in COMPILED and blocks_compiled(made[built]),
    }


def call(model: Callable[..., object], images: Tensor) -> Callable[[], object]:
    """Run a model as `compared` does: the first view leads."""
    return lambda: model(images, reference="first")


def base_dtype(base: nn.Module) -> torch.dtype:
    """The number type of the weights."""
    return next(base.parameters()).dtype
