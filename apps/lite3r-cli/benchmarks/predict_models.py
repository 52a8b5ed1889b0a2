r"""Predict how long whole backbones take on GPUs that are not here, by counting; nothing is run.

    python apps/lite3r-cli/benchmarks/predict_models.py \
        --out benchmarks/results/models-predicted.json

Dense attention is counted as one fused kernel; ours by what its operators do, step by step, and by
what their kernels read ("rows from a cache": every row of a head once). FP8 is a rate for the
linear layers: its quantization is taken as joined with what comes before.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sla_kernels
from lite3r.student.compose import sparsify
from lite3r.student.recipes import Recipe, by_name
from recon_backbones import Backbone, build_on_meta, replace_attention
from recon_eval.efficiency import DEVICES, Prediction, Step, Steps, predict
from sla_kernels.summary.op import RowLists

TARGETS = {2: 1.3, 32: 2.5, 100: 6.0, 300: 12.0, 1000: 25.0}  # times faster than compiled dense
SIDE = 518
OPS = torch.ops.sla_kernels


class Flash(nn.Module):
    """Dense attention as the operator that a GPU runs."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Tensor | None = None) -> Tensor:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]


def reads(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> int:
    """Bytes that the kernel of listed rows reads and writes, every list its own rows."""
    lists = RowLists(*rest[: len(RowLists._fields)])
    row = 2 * k.shape[3] * k.element_size() + 4  # a key, a value, its bias
    return lists.rows.numel() * (row + 4) + 2 * q.numel() * q.element_size()


def from_cache(counted: list[Step]) -> list[Step]:
    """The same with kernels of listed rows that wait for products alone."""
    return [
        replace(step, reads={}, writes={-1: 0}) if "summary_attention" in step.name else step
        for step in counted
    ]


def steps(name: str, views: int, recipe: Recipe | None) -> Steps:
    """Every step of one scene in bfloat16."""
    backbone: Backbone = build_on_meta(name).eval().to(torch.bfloat16).requires_grad_(False)
    replace_attention(backbone, lambda site: Flash(), where=lambda site: True)
    if recipe is not None:
        sparsify(backbone, recipe)
    images = torch.empty(1, views, 3, SIDE, SIDE, device="meta", dtype=torch.bfloat16)
    kernels = {OPS.summary_attention_forward.default: reads}
    with torch.no_grad(), Steps(bodies=sla_kernels.bodies(), kernels=kernels) as counted:
        backbone(images)
    return counted


def row(name: str, views: int, recipe: str, device: str) -> dict[str, Any]:
    """Dense and ours at one number of views."""
    on = DEVICES[device]
    dense = steps(name, views, None).steps
    found: dict[str, Prediction] = {
        "dense bfloat16, eager": predict(dense, on, compiled=False),
        "dense bfloat16, compiled": predict(dense, on, compiled=True),
    }
    ours = steps(name, views, by_name(recipe)).steps
    for suffix in ("", ", rows from a cache"):
        ours = from_cache(ours) if suffix else ours
        found[f"ours, compiled{suffix}"] = predict(ours, on, compiled=True)
        found[f"ours + FP8, compiled{suffix}"] = predict(ours, on, compiled=True, fp8=True)
    baseline = found["dense bfloat16, compiled"].seconds
    return {
        "backbone": name,
        "views": views,
        "recipe": recipe,
        "device": device,
        "target": TARGETS.get(views),
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
    parser.add_argument("--backbones", nargs="+", default=["vggt-1b", "da3-large"])
    parser.add_argument("--views", nargs="+", type=int, default=list(TARGETS))
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--device", default="H100", choices=DEVICES)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made: list[dict[str, Any]] = []
    for name in given.backbones:
        for views in given.views:
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
