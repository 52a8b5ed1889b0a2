"""An exponential moving average of the trained weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """The average of parameters over the steps.

    - `parameters`: by name; the average starts at their values.
    - `decay`: share of the old average that remains at each step; early steps use less, (1 + step)
      / (10 + step), so that the start is forgotten.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.tensors = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters as they are after `step` steps."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, average in self.tensors.items():
            average.lerp_(self._parameters[name], 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Give the parameters the averaged values."""
        for name, average in self.tensors.items():
            self._parameters[name].copy_(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the parameters the averaged values for the length of a block."""
        kept = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in kept.items():
                    self._parameters[name].copy_(tensor)
