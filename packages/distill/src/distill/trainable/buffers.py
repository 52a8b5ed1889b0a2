"""Buffers of a model that change while it trains, such as running maxima of FP8 scales."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

SMALL_BYTES = 2**20


@dataclass(frozen=True)
class _Original:
    """A buffer at the start: the tensor, its version, and a copy where it is small."""

    tensor: Tensor
    version: int
    copy: Tensor | None

    def differs(self, now: Tensor) -> bool:
        if self.copy is not None:
            return not torch.equal(now, self.copy)
        return now is not self.tensor or now._version != self.version

    def value(self, name: str) -> Tensor:
        if self.copy is not None:
            return self.copy
        if self.tensor._version == self.version:
            return self.tensor
        raise ValueError(
            f"buffer={name!r} ({self.tensor.nbytes / 2**20:.0f} MiB); it was overwritten in "
            f"place, and its first values are gone, since none above {SMALL_BYTES // 2**20} MiB "
            "is copied: assign a new tensor to it instead"
        )


class Buffers:
    """The buffers of a model, and which of them are no longer what they were at the start.

    - `model`: its buffers at this moment are the originals.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._restored = model, set[str]()
        self._originals = {
            name: _Original(
                buffer, buffer._version, buffer.clone() if buffer.nbytes <= SMALL_BYTES else None
            )
            for name, buffer in model.named_buffers()
        }

    def changed(self) -> dict[str, Shaped[Tensor, "..."]]:
        """Return the buffers that changed, were replaced, were restored, or are new.

        What was restored may be as it was at the start of this session, and not of the first.
        """
        return {
            name: buffer
            for name, buffer in self._model.named_buffers()
            if name not in self._originals
            or name in self._restored
            or self._originals[name].differs(buffer)
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Shaped[Tensor, "..."]]) -> None:
        """Give the buffers the values that `changed` returned, and all others the original.

        Raises ValueError if a large buffer without a value was overwritten in place.
        """
        for name in self.changed():
            if name not in tensors and name in self._originals:
                self._set(name, self._originals[name].value(name))
        for name, tensor in tensors.items():
            self._set(name, tensor)
        self._restored |= tensors.keys()

    def _set(self, name: str, tensor: Tensor) -> None:
        path, _, leaf = name.rpartition(".")
        module = self._model.get_submodule(path)
        like = next(self._model.parameters())
        present = getattr(module, leaf, None)
        device = like.device if present is None else present.device
        setattr(module, leaf, tensor.to(device, copy=True))
