"""A GPU that is not here: tensors on it have shapes and a device, and no values.

PyTorch's fake tensors are that: what would read a value raises, and so does an operation on tensors
of two devices. Kernels are not launched, but what they are given must lie on the GPU, and the GPU
must be the current one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fp8_qat.fused import op as fused
from sla_kernels import backend, bodies
from sla_kernels.order import launch, plan
from sla_kernels.runtime import tiles

HOPPER = (9, 0)
KEPT = (launch._plan, plan.cuts, tiles.architecture_of)  # what is found out once for each device


class Operations(TorchDispatchMode):
    """The operations that run, each with the devices of its tensors; ours by what they do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, set[str]]] = []
        self.ours: set[str] = set()
        self._bodies = bodies()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self._bodies:
            self.ours.add(str(func).split(".")[1])
            with self:
                return self._bodies[func](*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        self.seen.append((str(func), {x.device.type for x in tensors}))
        return result

    @property
    def elsewhere(self) -> list[str]:
        """Those that touched a tensor of the host: copies, for which one waits for the other."""
        return [name for name, devices in self.seen if devices - {"cuda"}]


class _Kernel:
    """In the place of a kernel of Triton."""

    def __init__(self) -> None:
        self.launches = 0
        self.current: list[torch.device] = []

    def __getitem__(self, grid: object) -> Any:
        return self._launch

    def _launch(self, *args: Any, **_: Any) -> None:
        devices = {x.device for x in args if isinstance(x, Tensor)}
        assert devices == {torch.device("cuda:0")} == set(self.current)
        self.launches += 1

    @contextmanager
    def device_of(self, x: Tensor) -> Iterator[None]:
        """In the place of `torch.cuda.device_of`."""
        self.current.append(x.device)
        yield
        self.current.pop()


class AbsentGpu:
    """Where modules are put, and run inside `running()`."""

    def __init__(self, kernel: _Kernel) -> None:
        self.kernel = kernel
        self.mode = FakeTensorMode()

    def put(self, module: nn.Module) -> None:
        """Bring a module there, in place; its values are lost."""
        for part in module.modules():
            for kept in (part._parameters, part._buffers):
                for name, x in kept.items():
                    kept[name] = None if x is None else self._like(x)

    def _like(self, x: Tensor) -> Tensor:
        made = self.empty(*x.shape, dtype=x.dtype)
        return nn.Parameter(made, requires_grad=False) if isinstance(x, nn.Parameter) else made

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor there."""
        with self.mode:
            return torch.empty(shape, dtype=dtype, device="cuda")

    @contextmanager
    def running(self) -> Iterator[Operations]:
        """Run what is in here on it, as a CUDA graph would record it."""
        with self.mode, torch.no_grad(), Operations() as found:
            yield found


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[AbsentGpu]:
    """A Hopper that is not here, with Triton."""
    made = AbsentGpu(_Kernel())
    cuda: Any = torch.cuda
    monkeypatch.setattr(cuda, "get_device_capability", lambda device=None: HOPPER)
    monkeypatch.setattr(cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(cuda, "device_of", made.kernel.device_of)
    monkeypatch.setattr(cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(cuda.amp.common, "amp_definitely_not_available", lambda: False)
    for name, stand_in in _THROUGH_OPERATIONS.items():
        monkeypatch.setattr(Tensor, name, stand_in(getattr(Tensor, name)))
    monkeypatch.setattr(backend, "without_triton", lambda device: None)
    monkeypatch.setattr(fused, "INSTALLED", True)
    monkeypatch.setattr(fused, "_quantize_rows_kernel", made.kernel)
    for module in ("convert", "layers.stored"):  # a report's figure, read once
        monkeypatch.setattr(import_module(f"fp8_qat.{module}"), "sqnr", lambda a, b: 0.0)
    monkeypatch.setattr(nn.Module, "_apply", _applied)
    _forget()
    yield made
    _forget()


def _forget() -> None:
    for found in KEPT:
        found.cache_clear()


def _applied(module: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
    """As PyTorch's own, which cannot exchange fake tensors in their place."""
    for child in module.children() if recurse else ():
        child._apply(fn)
    for name, x in module._parameters.items():
        if x is not None:
            module._parameters[name] = nn.Parameter(fn(x), requires_grad=x.requires_grad)
    for name, held in module._buffers.items():
        module._buffers[name] = None if held is None else fn(held)
    return module


# PyTorch built without CUDA refuses these of such tensors before any operation is asked for.


def _getitem(plain: Any) -> Any:
    def run(x: Tensor, key: Any) -> Tensor:
        if x.device.type != "cuda":
            made: Tensor = plain(x, key)
            return made
        view, places = _viewed(x, key)
        return torch.ops.aten.index.Tensor(view, places) if places else view  # type: ignore[no-any-return]

    return run


def _setitem(plain: Any) -> Any:
    def run(x: Tensor, key: Any, value: Any) -> None:
        if x.device.type != "cuda":
            plain(x, key, value)
            return
        view, places = _viewed(x, key)
        given = value if isinstance(value, Tensor) else view.new_full((), value)
        if places:
            torch.ops.aten.index_put_.default(view, places, given)
        else:
            torch.ops.aten.copy_.default(view, given)

    return run


def _copy(plain: Any) -> Any:
    return lambda x, y, non_blocking=False: torch.ops.aten.copy_.default(x, y, non_blocking)


def _invert(plain: Any) -> Any:
    return lambda x: torch.bitwise_not(x)


def _contiguous(plain: Any) -> Any:
    def run(x: Tensor, memory_format: Any = torch.contiguous_format) -> Tensor:
        there = x.is_contiguous(memory_format=memory_format)
        return x if there else x.clone(memory_format=memory_format)

    return run


def _viewed(x: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """A view by slices and numbers, and the places that tensors name on each of its axes."""
    keys = list(key) if isinstance(key, tuple) else [key]
    rest = [slice(None)] * (x.dim() - sum(k is not None and k is not ... for k in keys))
    for at, part in enumerate(keys):
        if part is ...:
            keys[at : at + 1] = rest
            break
    axis, places = 0, []
    for part in keys:
        if part is None:
            x = x.unsqueeze(axis)
        elif isinstance(part, slice):
            step = 1 if part.step is None else part.step
            x = torch.ops.aten.slice.Tensor(x, axis, part.start, part.stop, step)
        elif not isinstance(part, Tensor):
            x = x.select(axis, part)
            continue
        places.append(part if isinstance(part, Tensor) else None)
        axis += 1
    return x, places if any(p is not None for p in places) else []


_THROUGH_OPERATIONS = {
    "__getitem__": _getitem,
    "__setitem__": _setitem,
    "copy_": _copy,
    "contiguous": _contiguous,
    "__invert__": _invert,
}
