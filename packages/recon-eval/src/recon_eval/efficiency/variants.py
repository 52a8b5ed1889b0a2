"""Variants of a model: each is held against a twin in float32 before anybody times it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

Build = Callable[[Any], Any]
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""By the number type: how far an answer may stray, as the median of |answer / twin's - 1|."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a benchmark.

    - `build`: makes the model from a copy of the base in `dtype`.
    - `twin`: makes what it is held against from a copy in float32.
    - `compiled`: whether torch.compile wraps it.
    - `missing`: why it cannot run on this machine, if so.
    """

    name: str
    dtype: str
    build: Build
    twin: Build
    compiled: bool = False
    missing: str | None = None


def check_variants(
    variants: Sequence[Variant],
    base: Any,
    answer: Callable[[Any], Tensor],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each variant, and the models that may be timed, by name.

    A row holds `error`, how far the variant strays, or `not_run`: why it is not timed.

    - `base`: the model that variants are made of; it stays as it is.
    - `answer`: runs a model; its positive answer is compared.
    - `say`: takes one line about what happens.
    """
    rows: list[dict[str, Any]] = []
    ready: dict[str, Any] = {}
    for variant in variants:
        row: dict[str, Any] = {"variant": variant.name, "dtype": variant.dtype}
        rows.append(row)
        if variant.missing:
            row["not_run"] = variant.missing
            continue
        say(f"checking {variant.name} ...")
        try:
            model, error = build_and_compare(variant, base, answer)
        except torch.OutOfMemoryError as trouble:
            row["not_run"] = f"out of memory: {str(trouble).partition('.')[0]}"
            continue
        except RuntimeError as trouble:  # as of a machine without a compiler
            if not variant.compiled:
                raise
            row["not_run"] = f"cannot be compiled: {str(trouble).partition(chr(10))[0]}"
            continue
        row["error"] = error if isfinite(error) else None  # JSON has no NaN
        allowed = TOLERANCE[variant.dtype]
        if error <= allowed:
            ready[variant.name] = model
        else:
            row["not_run"] = f"strays by {error:.3g} from float32; {allowed} allowed"
    return rows, ready


def build_and_compare(
    variant: Variant, base: Any, answer: Callable[[Any], Tensor]
) -> tuple[Any, float]:
    """The model, and how far it strays from its twin."""
    with torch.inference_mode():
        truth = answer(variant.twin(copy.deepcopy(base)))
        model = variant.build(copy.deepcopy(base).to(getattr(torch, variant.dtype)))
        found = answer(model).float()
    return model, float((found / truth - 1).abs().median())


def weight_bytes(model: Any, size: Callable[[Tensor], int] = Tensor.element_size) -> int:
    """Bytes of all weights of a model; one that stands in several places counts once.

    - `size`: bytes of one number of a weight; as they lie in memory unless given.
    """
    held: Mapping[int, Tensor] = {id(x): x for x in (*model.parameters(), *model.buffers())}
    return sum(x.numel() * size(x) for x in held.values())
