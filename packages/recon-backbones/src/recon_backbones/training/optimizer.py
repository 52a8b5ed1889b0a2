"""What a training asks of an optimizer and of the scenes that it learns from."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recon_backbones.training.pupils.pupil import Pupil

Scenes = Callable[[int], dict[str, Tensor]]
"""Gives the batch of a step, as `training_loss` takes it."""
MakeScenes = Callable[[int, torch.device], Scenes]
"""Makes the scenes of one process, by its rank, on its device."""
Check = Callable[[Pupil], dict[str, float]]
"""Says in figures how good a network is by now."""


@runtime_checkable
class Optimizer(Protocol):
    """Moves the weights of a network, which may be bf16, and knows their means.

    Its state holds `master.NAME` and `average.NAME`, in float32, for each weight that trains.
    """

    def step(self, gradients: dict[str, Tensor], factor: float) -> None:
        """Move by gradients at `factor` times the full learning rate."""

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""


@runtime_checkable
class MakeOptimizer(Protocol):
    """Makes an optimizer for a network; `hidden` names the matrices inside its blocks."""

    def __call__(self, network: nn.Module, *, hidden: Sequence[str], average: float) -> Optimizer:
        """Take hold of the weights that train; `average` is what a mean keeps in each step."""
