"""Variants are checked before they are timed; their costs are a table and panels."""

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from recon_eval.efficiency import (
    Variant,
    check_variants,
    compare,
    cost_panels,
    cost_row,
    cost_table,
    weight_bytes,
)
from recon_eval.report import svg

X = torch.rand(5, 4)


def positive(model: nn.Module) -> Tensor:
    dtype = next(model.parameters()).dtype
    found: Tensor = model(X.to(dtype)).exp()
    return found


def same(model: nn.Module) -> nn.Module:
    return model


def louder(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    return model


def broken(model: nn.Module) -> nn.Module:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried much")


def test_what_strays_is_missing_or_does_not_fit_is_not_run() -> None:
    base = nn.Linear(4, 3)
    before = base.weight.clone()
    rows, ready = check_variants(
        [
            Variant(name="exact", dtype="float32", build=same, twin=same),
            Variant(name="half", dtype="bfloat16", build=same, twin=same),
            Variant(name="wrong", dtype="float32", build=louder, twin=same),
            Variant(name="absent", dtype="float32", build=same, twin=same, missing="no wheel"),
            Variant(name="large", dtype="float32", build=broken, twin=same),
        ],
        base,
        positive,
    )
    found = {row["variant"]: row for row in rows}
    assert list(ready) == ["exact", "half"]
    assert found["exact"]["error"] == 0 and 0 < found["half"]["error"] < 0.05
    assert found["wrong"]["not_run"].startswith("strays by ")
    assert found["absent"]["not_run"] == "no wheel"
    assert found["large"]["not_run"] == "out of memory: CUDA out of memory"
    assert torch.equal(base.weight, before)


def test_what_cannot_be_compiled_or_answers_no_number_leaves_the_others() -> None:
    def uncompiled(model: nn.Module) -> nn.Module:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler\n\nmuch more")

    def silent(model: nn.Module) -> nn.Module:
        nn.init.constant_(next(model.parameters()), torch.nan)
        return model

    fast = Variant(name="fast", dtype="float32", build=uncompiled, twin=same, compiled=True)
    chosen = [
        fast,
        Variant(name="silent", dtype="float32", build=silent, twin=same),
        Variant(name="exact", dtype="float32", build=same, twin=same),
    ]
    rows, ready = check_variants(chosen, nn.Linear(4, 3), positive)
    found = {row["variant"]: row for row in json.loads(json.dumps(rows, allow_nan=False))}
    assert list(ready) == ["exact"]
    said = "cannot be compiled: InvalidCxxCompiler: No working C++ compiler"
    assert found["fast"]["not_run"] == said
    assert found["silent"]["not_run"].startswith("strays by nan")
    with pytest.raises(RuntimeError, match="much more"):  # a bug
        check_variants([replace(fast, compiled=False)], nn.Linear(4, 3), positive)


def test_a_weight_in_two_places_counts_once() -> None:
    layer = nn.Linear(4, 3, bias=False)
    assert weight_bytes(nn.Sequential(layer, layer)) == 4 * 12
    assert weight_bytes(layer, lambda x: 1) == 12


def test_costs_are_a_table_and_panels() -> None:
    costs = compare({"one": lambda: X @ X.T}, repeats=2)
    row = {"variant": "one", **cost_row(costs["one"], weight_bytes=2_000_000, views=5)}
    assert row["fastest_ms"] <= row["latency_ms"] <= row["slowest_ms"]
    assert row["weights_mb"] == 2
    rows: list[dict[str, Any]] = [
        row | {"parts_ms": {"inside": 1.2, "outside": 3.9}},
        {"variant": "two", "not_run": "no wheel"},
    ]
    settings = [{"views": v, "width": 28, "height": 14, "rows": rows} for v in (2, 5)]
    text = cost_table(settings[0], baseline="one", parts=("inside", "outside"))
    head, _, first, second = text.splitlines()
    assert head.endswith("| speed-up | inside / outside ms |")
    assert "| 1.00 | 1 / 4 |" in first
    assert second.startswith("| two | no wheel |")
    assert head.count("|") == first.count("|") == second.count("|")
    panels = cost_panels(settings)
    assert [len(panel.points) for panel in panels] == [2, 2]
    ElementTree.fromstring(svg(panels))


def test_nothing_timed_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        svg(cost_panels([]))
