"""The least that a training asks of an optimizer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Plain:
    """Plain steps on float32 masters, with their mean."""

    def __init__(self, network: nn.Module, *, hidden: Sequence[str], average: float) -> None:
        assert hidden
        self._working = dict(network.named_parameters())
        self._masters = {n: p.detach().float().clone() for n, p in self._working.items()}
        self._means = {n: m.clone() for n, m in self._masters.items()}
        self._average = average

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], factor: float) -> None:
        """Go against the gradient."""
        for name, gradient in gradients.items():
            self._masters[name] -= 1e-3 * factor * gradient.float()
            self._means[name].lerp_(self._masters[name], 1 - self._average)
            self._working[name].copy_(self._masters[name])

    def state(self) -> dict[str, Tensor]:
        """Masters and means."""
        named = {"master": self._masters, "average": self._means}
        return {f"{kind}.{n}": t for kind, held in named.items() for n, t in held.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take both up."""
        with torch.no_grad():
            for name, working in self._working.items():
                self._masters[name].copy_(tensors[f"master.{name}"])
                self._means[name].copy_(tensors[f"average.{name}"])
                working.copy_(self._masters[name])
