"""How many bytes of tensors a run keeps alive at once, counted operation by operation."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _LiveBytes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.given: set[int] = set()
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self.live:
                self.given.add(tensor.untyped_storage()._cdata)
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        self.peak = max(self.peak, sum(self.live.values()))
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.live and key not in self.given:
            self.live[key] = storage.nbytes()
            weakref.finalize(storage, self.live.pop, key, None)


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes alive at once of tensors that `run` makes, on any device, meta included."""
    with _LiveBytes() as counted:
        run()
    return counted.peak
