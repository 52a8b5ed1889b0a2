"""Where the time of the operator and of the slowest row goes: kernels, longest first."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from gpu.building import dense, variant
from gpu.record import Record
from gpu.setting import Setting
from gpu.steps.models import SIZE, TINY
from gpu.steps.rows import draw, wholes
from sla_kernels import principal_axes

OPERATOR, TOKENS = "balanced", 137_400
MOST_VIEWS = 100
KERNELS = 40


def measure(setting: Setting, record: Record) -> None:
    """Profile the operator, then our slowest row of up to a hundred views, one pass each."""
    tokens = 600 if setting.rehearse else TOKENS
    record.row({"operator": OPERATOR, "tokens": tokens}, partial(operator, tokens, setting))
    name, views, what = slowest(setting)
    run = partial(network, name, views, what, setting)
    record.row({"backbone": name, "views": views, "variant": what}, run)


def slowest(setting: Setting) -> tuple[str, int, str]:
    """Backbone, views and variant of our row that took longest, or what would."""
    default = ("vggt-tiny", 2, "ours") if setting.rehearse else ("vggt-1b", 32, "ours, compiled")
    rows: list[dict[str, Any]] = []
    for step in TINY:
        path = setting.out / f"{step}.json"
        rows += json.loads(path.read_text())["rows"] if path.is_file() else []
    ours = [
        row
        for row in rows
        if row["variant"].startswith("ours")
        and not row.get("captured")
        and row["views"] <= MOST_VIEWS
        and "ms" in row
    ]
    if setting.rehearse:
        ours = [row for row in ours if row["variant"] == "ours"]
    if not ours:
        return default
    row = max(ours, key=lambda row: row["ms"])
    return row["backbone"], row["views"], row["variant"]


def network(name: str, views: int, what: str, setting: Setting) -> dict[str, Any]:
    """The kernels of a pass of a whole network."""
    model = variant(what, dense(name, setting.device), setting)
    height, width = (56, 84) if setting.rehearse else SIZE
    images = torch.rand(1, views, 3, height, width).to(setting.device, torch.bfloat16)
    return kernels(lambda: model(images, reference="first"), setting.device)


def operator(tokens: int, setting: Setting) -> dict[str, Any]:
    """The kernels of attention over listed rows, order and choice among them."""
    q, k, v = draw(tokens, setting)
    axes = principal_axes(k[:, :, :20_000].transpose(1, 2).flatten(2).float(), 16)
    return kernels(partial(wholes(axes)[OPERATOR], q, k, v), setting.device)


def kernels(run: Callable[[], object], device: str) -> dict[str, Any]:
    """Every kernel's calls and milliseconds in a second call."""
    on_gpu = device == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with torch.inference_mode():
        run()
        with profile(activities=[activity]) as seen:
            run()
            if on_gpu:
                torch.cuda.synchronize()
    events = seen.key_averages()
    spent = {e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total) for e in events}
    calls = {e.key: e.count for e in events}
    total = sum(spent.values())
    found = sorted(spent, key=lambda key: -spent[key])[:KERNELS]
    return {
        "total_ms": total / 1e3,
        "kernels": [
            {
                "name": key[:160],
                "calls": calls[key],
                "ms": spent[key] / 1e3,
                "share": spent[key] / total,
            }
            for key in found
        ],
    }
