"""How fast a backbone and its students are, beside the strongest dense baseline.

Every variant is first held against its own float32 twin: one whose depth strays further
than its tolerance is not timed. Variants are timed in turn, so that what disturbs the
machine disturbs all.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones import Backbone, load_backbone

from . import compose
from .measuring import compare_costs, compared
from .recipes import Recipe

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}  # median of |depth / twin's depth - 1|

TITLES = ("median ms", "fastest - slowest", "views/s", "working MB", "weights MB", "speed-up")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: what runs, in which dtype, and why it cannot run here, if so."""

    name: str
    dtype: str
    build: Callable[[Backbone], Backbone]
    twin: Callable[[Backbone], Backbone]
    missing: str | None = None


def variants(recipe: Recipe, *, device: str, with_compile: bool) -> list[Variant]:
    """Dense float32 (the paper's baseline), dense bfloat16, and the parts of the student."""
    sparse = replace(recipe, fp8="none")
    found = [
        Variant(name="dense float32", dtype="float32", build=_same, twin=_same),
        Variant(name="dense bfloat16", dtype="bfloat16", build=_same, twin=_same),
    ]
    if with_compile:
        found.append(
            Variant(name="dense bfloat16, compiled", dtype="bfloat16", build=_compiled, twin=_same)
        )
    found.append(
        Variant(name="SLA bfloat16", dtype="bfloat16", build=_light(sparse), twin=_light(sparse))
    )
    if recipe.fp8 != "none":
        why = _no_fp8(device)
        fp8 = _quantised(recipe, "scaled_mm")
        both = _light(recipe, "scaled_mm")
        found += [
            Variant(
                name="FP8", dtype="bfloat16", build=fp8, twin=_quantised(recipe, None), missing=why
            ),
            Variant(
                name="SLA + FP8", dtype="bfloat16", build=both, twin=_light(recipe), missing=why
            ),
        ]
    return found


def bench(
    backbone: str,
    weights: str,
    images: Float[Tensor, "1 v 3 y x"],
    recipe: Recipe,
    *,
    device: str,
    repeats: int,
    with_compile: bool,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of one backbone at one number of views and one size; what did not run says why."""
    images = images.to(device)
    base = load_backbone(backbone, weights=weights, device=device, seed=seed)
    rows: list[dict[str, Any]] = []
    ready: dict[str, Backbone] = {}
    for variant in variants(recipe, device=device, with_compile=with_compile):
        row: dict[str, Any] = {"variant": variant.name, "dtype": variant.dtype}
        rows.append(row)
        if variant.missing:
            row["not_run"] = variant.missing
            continue
        model, error = _checked(variant, base, images)
        row["error"] = error
        if error <= TOLERANCE[variant.dtype]:
            ready[variant.name] = model
        else:
            allowed = TOLERANCE[variant.dtype]
            row["not_run"] = f"strays by {error:.3g} from float32; {allowed} allowed"
    costs = compare_costs(ready, images, repeats=repeats, device=device)
    for row in rows:
        if row["variant"] in costs:
            row |= _figures(costs[row["variant"]], ready[row["variant"]], images.shape[1])
    return rows


def _checked(variant: Variant, base: Backbone, images: Tensor) -> tuple[Backbone, float]:
    dtype = getattr(torch, variant.dtype)
    with torch.inference_mode():
        truth = compared(variant.twin(copy.deepcopy(base)), images).depth
        model = variant.build(copy.deepcopy(base).to(dtype))
        found = compared(model, images).depth.float()
    return model, float((found / truth - 1).abs().median())


def _figures(cost: Any, model: Backbone, views: int) -> dict[str, Any]:
    held = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    ordered = sorted(cost.latencies_ms)
    return {
        "latency_ms": cost.latency_ms,
        "latencies_ms": cost.latencies_ms,
        "fastest_ms": ordered[0],
        "slowest_ms": ordered[-1],
        "views_per_second": 1000 * views / cost.latency_ms,
        "working_memory_mb": cost.peak_memory_bytes / 1e6,
        "weights_mb": held / 1e6,
    }


def _same(backbone: Backbone) -> Backbone:
    return backbone


def _compiled(backbone: Backbone) -> Backbone:
    backbone.compile()
    return backbone


def _light(recipe: Recipe, backend: str | None = None) -> Callable[[Backbone], Backbone]:
    def build(backbone: Backbone) -> Backbone:
        student = compose.lighten(backbone, recipe)
        if backend is not None:
            compose.deploy(student, backend=backend)
        return student.backbone

    return build


def _quantised(recipe: Recipe, backend: str | None) -> Callable[[Backbone], Backbone]:
    def build(backbone: Backbone) -> Backbone:
        compose.quantise(backbone.requires_grad_(False), recipe)
        if backend is not None:
            compose.convert(backbone, backend=backend)
        return backbone

    return build


def _no_fp8(device: str) -> str | None:
    if device != "cuda":
        return f"{device} multiplies no FP8"
    major, minor = torch.cuda.get_device_capability()
    return None if (major, minor) >= (8, 9) else f"sm_{major}{minor} multiplies no FP8 (sm_89 does)"


def markdown(rows: Mapping[str, list[dict[str, Any]]]) -> str:
    """Tables, one a setting, with the ratio to dense bfloat16."""
    text = ""
    for setting, table in rows.items():
        base = next((r for r in table if r["variant"] == "dense bfloat16"), {})
        text += f"### {setting}\n\n| variant | {' | '.join(TITLES)} |\n"
        text += f"|---|{'---:|' * len(TITLES)}\n"
        for row in table:
            text += _markdown_row(row, base.get("latency_ms"))
        text += "\n"
    return text


def _markdown_row(row: dict[str, Any], base_ms: float | None) -> str:
    if "latency_ms" not in row:
        return f"| {row['variant']} | {row['not_run']} | | | | | |\n"
    ratio = f"{base_ms / row['latency_ms']:.2f}" if base_ms else ""
    return (
        f"| {row['variant']} | {row['latency_ms']:.1f} | {row['fastest_ms']:.1f} - "
        f"{row['slowest_ms']:.1f} | {row['views_per_second']:.1f} | "
        f"{row['working_memory_mb']:.0f} | {row['weights_mb']:.0f} | {ratio} |\n"
    )
