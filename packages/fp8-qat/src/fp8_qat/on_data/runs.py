"""Running a model on batches and comparing what comes out."""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Run = Callable[[nn.Module, Any], Any]


def call(model: nn.Module, batch: Any) -> Any:
    """Call a model on one batch: a dict by keyword, a tuple or list by position."""
    if isinstance(batch, dict):
        return model(**batch)
    if isinstance(batch, (tuple, list)):
        return model(*batch)
    return model(batch)


@torch.no_grad()
def run_all(
    model: nn.Module,
    batches: Iterable[Any],
    run: Run,
    take: Callable[[Any], None] = lambda given: None,
) -> None:
    """Run a model in evaluation mode; what it returns goes to `take`, batch by batch."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for batch in batches:
            take(run(model, batch))
    finally:
        for module in training:
            module.training = True


def outputs(model: nn.Module, batches: Iterable[Any], run: Run) -> list[list[Tensor]]:
    """Give the floating-point tensors that a model returns in evaluation mode, by batch."""
    found: list[list[Tensor]] = []
    run_all(model, batches, run, lambda given: found.append(floats(given)))
    return found


def read_by_linear(given: tuple[Tensor, ...], named: dict[str, Tensor]) -> Tensor:
    """Give what an `nn.Linear` reads of the arguments that it was called with."""
    return given[0] if given else named["input"]


def floats(value: Any) -> list[Tensor]:
    """Give the floating-point tensors of a dataclass or of nested containers, in order."""
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    leaves = tree_leaves(value)
    return [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]


def relative_error(expected: list[list[Tensor]], given: list[list[Tensor]]) -> float:
    """Give the largest relative error, norm of difference over norm, of the outputs.

    Each output counts for itself, over all batches, so that a small one is not drowned; what
    holds no numbers to compare, NaN or infinity, is infinitely wrong.
    """
    worst = 0.0
    for theirs, ours in zip(zip(*expected, strict=True), zip(*given, strict=True), strict=True):
        pairs = zip(theirs, ours, strict=True)
        noise = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
        signal = sum(float(a.double().square().sum()) for a in theirs)
        if noise != 0:
            error = (noise / signal) ** 0.5 if signal else float("inf")
            worst = max(worst, float("inf") if math.isnan(error) else error)
    return worst
