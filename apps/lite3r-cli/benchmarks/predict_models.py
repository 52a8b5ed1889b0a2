r"""Predict how long whole backbones take on GPUs that are not here, by counting; nothing is run.

    python apps/lite3r-cli/benchmarks/predict_models.py \
        --out benchmarks/results/models-predicted.json

Dense attention is counted as one fused kernel; ours by what its operators do, step by step, and by
what their kernels read ("rows from a cache": what they read again costs nothing). FP8 is a rate for
the linear layers: its quantization is taken as joined with what comes before. "Captured" is the
same code as one CUDA graph.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from kernel_costs import kernels
from torch.overrides import TorchFunctionMode

import sla_kernels
from lite3r.student.compose import sparsify
from lite3r.student.recipes import Recipe, by_name
from recon_backbones import Backbone, build_on_meta
from recon_eval.efficiency import DEVICES, Prediction, Step, Steps, predict

TARGETS = {  # times faster than compiled dense
    "vggt-1b": {2: 1.3, 32: 2.5, 100: 6.0, 300: 12.0, 1000: 25.0},
    "da3-large": {2: 1.3, 32: 2.0, 100: 3.2, 300: 5.0},
}
SIDE = 518


class Fused(TorchFunctionMode):
    """Dense attention as a GPU runs it, wherever PyTorch is asked for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args[:3])[0]
        return func(*args, **(kwargs or {}))


def steps(name: str, views: int, recipe: Recipe | None) -> list[Step]:
    """Every step of one scene in bfloat16."""
    backbone: Backbone = build_on_meta(name).eval().to(torch.bfloat16).requires_grad_(False)
    if recipe is not None:
        sparsify(backbone, recipe)
        sla_kernels.attend_all_below(backbone, sla_kernels.short_on("cuda"))
    images = torch.empty(1, views, 3, SIDE, SIDE, device="meta", dtype=torch.bfloat16)
    counted = Steps(
        bodies=sla_kernels.bodies(),
        launch=torch.ops.sla_kernels.launch.default,
        kernels=kernels(recipe),
    )
    with torch.no_grad(), Fused(), counted:
        backbone(images)
    return counted.steps


def row(name: str, views: int, recipe: str, device: str) -> dict[str, Any]:
    """Dense and ours at one number of views."""
    on = DEVICES[device]
    dense = steps(name, views, None)
    found: dict[str, Prediction] = {
        "dense bfloat16, eager": predict(dense, on, compiled=False),
        "dense bfloat16, compiled": predict(dense, on, compiled=True),
        "dense bfloat16, captured": predict(dense, on, compiled=True, captured=True),
    }
    ours = steps(name, views, by_name(recipe))
    for what, fp8 in (("ours", False), ("ours + FP8", True)):
        found[f"{what}, compiled"] = predict(ours, on, compiled=True, fp8=fp8)
        for suffix in ("", ", rows from a cache"):
            found[f"{what}, captured{suffix}"] = predict(
                ours, on, compiled=True, fp8=fp8, captured=True, cached=bool(suffix)
            )
    baseline = min(p.seconds for what, p in found.items() if what.startswith("dense"))
    return {
        "backbone": name,
        "views": views,
        "recipe": recipe,
        "device": device,
        "target": TARGETS.get(name, {}).get(views),
        "rows": {what: told(made, baseline) for what, made in found.items()},
    }


def told(made: Prediction, baseline: float) -> dict[str, Any]:
    """A prediction as JSON, its ten longest steps alone."""
    longest = {name: 1e3 * seconds for name, seconds in list(made.by_step.items())[:10]}
    rest = {k: v for k, v in asdict(made).items() if k not in ("by_step", "seconds")}
    return {
        "predicted_ms": 1e3 * made.seconds,
        "measured_ms": None,
        "times_faster_than_dense": baseline / made.seconds,
        "longest_ms": longest,
        **rest,
    }


def main() -> None:
    """Predict and write one JSON file, after every row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=list(TARGETS))
    parser.add_argument("--views", nargs="+", type=int, help="as the targets have them")
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--device", default="H100", choices=DEVICES)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made: list[dict[str, Any]] = []
    for name in given.backbones:
        for views in given.views or TARGETS[name]:
            made.append(row(name, views, given.recipe, given.device))
            record = {
                "what": "predicted by counting bytes and operations, not measured; "
                "tools/gpu_day.py measures it",
                "device": asdict(DEVICES[given.device]),
                "torch": torch.__version__,
                "models": made,
            }
            given.out.write_text(json.dumps(record, indent=1) + "\n")
            rows = made[-1]["rows"]
            short = {what: round(r["times_faster_than_dense"], 2) for what, r in rows.items()}
            sys.stdout.write(json.dumps({"backbone": name, "views": views} | short) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
