"""Which layers cost how much when they are quantized, and which to leave alone."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fp8_qat.layers.selection import Choice
from fp8_qat.numerics.spec import Recipe
from fp8_qat.on_data.calibrate import calibrate, needs_calibration
from fp8_qat.on_data.runs import Run, call, outputs, relative_error
from fp8_qat.prepare import Handle, prepare


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Relative errors of the model's outputs (norm of difference over norm).

    - `alone`: when one layer is quantized, by name.
    - `together`: when all are.
    """

    alone: dict[str, float]
    together: float

    def __str__(self) -> str:
        ranked = sorted(self.alone.items(), key=lambda item: -item[1])
        lines = [f"{error:.2e}  {name or '(the model)'}" for name, error in ranked]
        return "\n".join([f"{self.together:.2e}  all {len(ranked)} layers", *lines])


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """The layers to leave in high precision: pass `exclude` to `prepare`.

    - `error`: the relative error that was measured with the others quantized.
    """

    exclude: tuple[str, ...]
    error: float
    sensitivity: Sensitivity


def scan_sensitivity(
    model: nn.Module,
    recipe: Recipe,
    batches: Iterable[Any],
    *,
    include: Choice = None,
    exclude: Choice = None,
    run: Run = call,
) -> Sensitivity:
    """Quantize one layer at a time and measure how far the model's outputs move.

    The model is run once per layer and batch, in evaluation mode, and is afterwards what
    it was. A static recipe is calibrated on the same batches. Errors are those of `prepare`.
    """
    with _scanning(model, recipe, list(batches), include, exclude, run) as scan:
        return scan.sensitivity()


def choose_layers(
    model: nn.Module,
    recipe: Recipe,
    batches: Iterable[Any],
    *,
    budget: float,
    include: Choice = None,
    exclude: Choice = None,
    run: Run = call,
) -> Budgeted:
    """Leave the fewest, costliest layers in high precision so that the error fits a budget.

    - `budget`: the largest relative error of the outputs, measured on the batches. Layers go in
    order of their error alone; each step is measured, not predicted.
    Raises ValueError for a budget that is not positive, and if no layer could stay.
    """
    if budget <= 0:
        raise ValueError(
            f"budget={budget}; it must be a positive relative error: give one such as 0.05"
        )
    with _scanning(model, recipe, list(batches), include, exclude, run) as scan:
        sensitivity = scan.sensitivity()
        names = sorted(sensitivity.alone, key=lambda name: -sensitivity.alone[name])
        count = _fewest(len(names), lambda n: scan.error(set(names[n:])) <= budget)
        error = scan.error(set(names[count:]))
    if count == len(names):
        raise ValueError(
            f"budget={budget}; it must be above {min(sensitivity.alone.values()):.2e}, the error "
            "of the least costly layer alone: raise it, or train first"
        )
    return Budgeted(exclude=tuple(sorted(names[:count])), error=error, sensitivity=sensitivity)


class _Scan:
    """A model with all chosen layers prepared, of which any set can be switched on."""

    def __init__(
        self, handle: Handle, batches: list[Any], expected: list[list[Tensor]], run: Run
    ) -> None:
        self.handle, self.batches, self.expected, self.run = handle, batches, expected, run

    def error(self, names: set[str]) -> float:
        for entry in self.handle.layers:
            entry.layer.enabled = entry.name in names  # type: ignore[assignment]
        return relative_error(self.expected, outputs(self.handle.model, self.batches, self.run))

    def sensitivity(self) -> Sensitivity:
        names = [entry.name for entry in self.handle.layers]
        return Sensitivity(
            alone={name: self.error({name}) for name in names}, together=self.error(set(names))
        )


@contextmanager
def _scanning(
    model: nn.Module,
    recipe: Recipe,
    batches: list[Any],
    include: Choice,
    exclude: Choice,
    run: Run,
) -> Iterator[_Scan]:
    if not batches:
        raise ValueError("batches=[]; there must be one to measure on: give at least one")
    expected = outputs(model, batches, run)
    handle = prepare(model, recipe, include=include, exclude=exclude, frozen="keep")
    try:
        if needs_calibration(recipe):
            calibrate(model, batches, run=run)
        yield _Scan(handle, batches, expected, run)
    finally:
        handle.undo()


def _fewest(count: int, fits: Callable[[int], bool]) -> int:
    """The smallest n for which `fits` holds, by bisection; `count` fits without asking."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
