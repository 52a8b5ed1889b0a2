"""Choose what trains, and say what was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from distill.record.names import matching


@dataclass(frozen=True, kw_only=True)
class TrainableReport:
    """What trains in a model.

    - `shapes`: shape of every trainable parameter, by name.
    - `trainable`: number of trainable values.
    - `total`: number of values in all parameters.
    - `bytes`: size of the trainable parameters as stored.
    """

    shapes: dict[str, tuple[int, ...]]
    trainable: int
    total: int
    bytes: int

    @property
    def fraction(self) -> float:
        """Share of the parameters that trains, from 0 to 1."""
        return self.trainable / self.total

    def __str__(self) -> str:
        return (
            f"{self.trainable:,} of {self.total:,} parameters train "
            f"({100 * self.fraction:.3g} %, {self.bytes / 1e6:.3g} MB) "
            f"in {len(self.shapes)} tensors"
        )


def freeze_except(model: nn.Module, patterns: str | Sequence[str]) -> TrainableReport:
    """Let only the parameters train whose names match a pattern; drop the others' gradients.

    - `model`: changed in place: `requires_grad` of every parameter.
    - `patterns`: shell patterns over dotted parameter names, such as "*.proj_l.*"; one that is
      tied has several, and the report its first.

    Raises ValueError if a pattern matches no parameter (the closest names are offered), or there
    is no pattern.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    named = list(model.named_parameters(remove_duplicate=False))  # what is tied, by every name
    chosen = matching((name for name, _ in named), patterns, "parameter")
    trained = {id(parameter) for name, parameter in named if name in chosen}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
        parameter.grad = None
    return trainable_report(model)


def trainable_report(model: nn.Module) -> TrainableReport:
    """Say what trains in a model.

    Raises ValueError if nothing trains.
    """
    parameters = dict(model.named_parameters())
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    if not trained:
        raise ValueError(
            f"model={type(model).__name__}; nothing is trainable, all {len(parameters)} "
            "parameters are frozen: choose what trains with `freeze_except(model, patterns)`"
        )
    return TrainableReport(
        shapes={name: tuple(p.shape) for name, p in trained.items()},
        trainable=sum(p.numel() for p in trained.values()),
        total=sum(p.numel() for p in parameters.values()),
        bytes=sum(p.numel() * p.element_size() for p in trained.values()),
    )


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require gradients, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def parameter_ids(model: nn.Module) -> frozenset[int]:
    """Which parameters a model has, to tell whether another one shares some."""
    return frozenset(map(id, model.parameters()))
