"""Count the memory of tensors that hold no data: every storage, from its making to its death."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Body = Callable[..., Any]
_BODIES: dict[Any, Body] = {}
_CONVOLUTION = torch.ops.aten.convolution.default


def count_inside(operator: Any, body: Body) -> None:
    """Make an operator's own tensors count, for predictions of memory.

    - `operator`: an overload, such as `torch.ops.library.name.default`; PyTorch sees it as one step
      and knows its results alone.
    - `body`: what it does, in PyTorch's operations, also on tensors of the meta device.
    """
    _BODIES[operator] = body


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, until they die; `peaks` holds the most by part.

    - `workspaces`: count what a GPU's convolutions take for themselves, as much as their input and
      output laid out anew. That is a prediction: libraries choose their algorithms at run time.
    """

    def __init__(self, *, workspaces: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.part = "frame"
        self.peaks: dict[str, int] = {}
        self._workspaces = workspaces
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _BODIES:
            with self:  # its steps are seen one by one
                return _BODIES[func](*args, **(kwargs or {}))
        given = _tensors((args, kwargs))
        known = {t.untyped_storage()._cdata for t in given}
        result = func(*args, **(kwargs or {}))
        made = _tensors(result)
        for tensor in made:
            storage = tensor.untyped_storage()
            if storage._cdata not in known and storage not in self._seen:
                self._add(storage)
        if self._workspaces and func is _CONVOLUTION:
            self._note(sum(t.numel() * t.element_size() for t in (given[0], *made)))
        return result

    def _add(self, storage: Any) -> None:
        size = storage.nbytes()
        self._seen.add(storage)
        self.live += size
        self._note(0)
        weakref.finalize(storage, self._release, size)

    def _note(self, beside: int) -> None:
        self.peaks[self.part] = max(self.peaks.get(self.part, 0), self.live + beside)

    def _release(self, size: int) -> None:
        self.live -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
