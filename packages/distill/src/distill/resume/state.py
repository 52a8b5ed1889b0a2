"""Everything a run must remember, as named tensors and plain values."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from distill.step.average import Average
from distill.trainable.buffers import Buffers
from distill.trainable.freeze import trainable_parameters


class TrainingState:
    """The tensors that change during training: parameters, optimizer, average, buffers.

    Frozen parameters are not part of it, nor buffers that are as they were at the start.

    - `student`: the model that learns.
    - `optimizer`: its optimizer, over the trainable parameters only.
    - `average`: the moving average, if there is one.
    """

    def __init__(self, student: nn.Module, optimizer: Optimizer, average: Average | None) -> None:
        self._optimizer, self._average = optimizer, average
        self.parameters = trainable_parameters(student)
        self._buffers = Buffers(student)

    def capture(self) -> dict[str, Tensor]:
        """Return references to the present tensors."""
        tensors = {f"model/{name}": p.detach() for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = value
        for name, value in (self._average.tensors if self._average else {}).items():
            tensors[f"average/{name}"] = value
        unsaved = self._buffers.unsaved()
        for name, buffer in self._buffers.changed().items():
            tensors[f"{'unsaved' if name in unsaved else 'buffer'}/{name}"] = buffer
        return tensors

    def snapshot(self) -> dict[str, Tensor]:
        """Return copies of the present tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.capture().items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring back what `capture` returned.

        Raises ValueError if a parameter is missing, unknown, or has another shape.
        """
        groups = _by_kind(tensors)
        _check("model", self.parameters, groups["model"])
        _copy(groups["model"], self.parameters)
        if self._average:
            _check("average", self._average.tensors, groups["average"])
            _copy(groups["average"], self._average.tensors)
        self._restore_optimizer(groups["optimizer"])
        self._buffers.restore(groups["buffer"] | groups["unsaved"], groups["unsaved"])

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        self._optimizer.state.clear()
        for path, tensor in tensors.items():
            name, key = path.rsplit("/", 1)
            parameter = self.parameters[name]
            device = tensor.device if key == "step" else parameter.device
            self._optimizer.state[parameter][key] = tensor.to(device, copy=True)


def _by_kind(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {
        kind: {} for kind in ("model", "optimizer", "average", "buffer", "unsaved")
    }
    for path, tensor in tensors.items():
        kind, _, name = path.partition("/")
        groups[kind][name] = tensor
    return groups


def _check(kind: str, known: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    missing, unknown = sorted(known.keys() - given.keys()), sorted(given.keys() - known.keys())
    if missing or unknown:
        raise ValueError(
            f"missing={missing[:3]}, unknown={unknown[:3]} ({len(missing)} and {len(unknown)} in "
            f"all); the checkpoint's {kind} tensors must be this student's: build the student "
            "and choose what trains as the run did"
        )
    for name, tensor in known.items():
        if tensor.shape != given[name].shape:
            raise ValueError(
                f"{name}={tuple(given[name].shape)} in the checkpoint; the student's has shape "
                f"{tuple(tensor.shape)}: build the student as the run did"
            )


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
