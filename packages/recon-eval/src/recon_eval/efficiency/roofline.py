"""Predict how long a call takes on a GPU that need not be here: by counting, nothing is measured.

The call runs on PyTorch's meta device. Every step takes the longer of two times: its bytes at the
memory's rate, its operations at that of the units that make them; and each launch takes its own.
Compiled code is predicted by joining neighboring steps that multiply nothing into one kernel, which
reads what it did not make and writes what is read after it. Real kernels can be slower than that,
above all where they wait for what they read.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from recon_eval.efficiency.devices import Device

REACHED = 0.65  # of the tensor cores' peak, as the best dense kernels do; assumed
STREAMED = 0.85  # of the memory's peak, as a large copy does; assumed
LAUNCH = {False: 5e-6, True: 2e-6}  # seconds, eager and compiled; assumed
ALONE = ("sort", "topk", "index", "gather", "scatter", "cumsum", "upsample", "searchsorted", "cat")

Bytes = Callable[..., int]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation: the bytes of each tensor that it reads and writes, by the tensor's number."""

    name: str
    reads: Mapping[int, int]
    writes: Mapping[int, int]
    flops: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def alone(self) -> bool:
        """Whether a compiler leaves it a kernel of its own."""
        return self.flops > 0 or any(word in self.name for word in ALONE)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds by the name of the step, and the sums behind them."""

    seconds: float
    by_step: Mapping[str, float]
    flops: int
    bytes: int
    launches: int
    compiled: bool


class Steps(TorchDispatchMode):
    """Write down what every operation reads, writes and multiplies.

    - `bodies`: for operators that are kernels of their own, what they do in PyTorch's operations:
      these steps count too.
    - `kernels`: for the same, the bytes that their kernels move, by their arguments.
    """

    def __init__(
        self, *, bodies: Mapping[Any, Callable[..., Any]] | None = None,
        kernels: Mapping[Any, Bytes] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self._bodies, self._kernels = bodies or {}, kernels or {}
        self._seen: dict[Any, tuple[list[int], list[Step]]] = {}
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._next = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func).removesuffix(".default")
        if func in self._bodies:
            return self._inside(func, name, args, kwargs)
        result = func(*args, **kwargs)
        given, made = _tensors((args, kwargs)), _tensors(result)
        known = {self._number(t) for t in given}
        new = [t for t in made if self._number(t) not in known]
        inplace = func._schema.is_mutable
        if new or inplace:
            written = {self._number(t): _size(t) for t in (made if inplace else new)}
            read = {self._number(t): _size(t) for t in given}
            self._add(name, read, written, func, args, kwargs, result)
        return result

    def _inside(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """The steps of a body; the same shapes again are written down again, without a run."""
        key = (func, *(_shape(leaf) for leaf in tree_leaves((args, kwargs))))
        given = [self._number(t) for t in _tensors((args, kwargs))]
        if key in self._seen:
            before, steps = self._seen[key]
            self.steps += self._renumbered(steps, dict(zip(before, given, strict=True)))
            return func(*args, **kwargs)
        start = len(self.steps)
        with self:
            result = self._bodies[func](*args, **kwargs)
        moved = self._kernels[func](*args) if func in self._kernels else 0
        self._add(name, {}, {-1: moved}, func, args, kwargs, result)
        self._seen[key] = given, self.steps[start:]
        return result

    def _renumbered(self, steps: list[Step], numbers: dict[int, int]) -> list[Step]:
        """The same steps on other tensors."""

        def of(sizes: Mapping[int, int]) -> dict[int, int]:
            for number in sizes:
                if number not in numbers:
                    numbers[number] = self._next
                    self._next += 1
            return {numbers[number]: size for number, size in sizes.items()}

        return [replace(step, reads=of(step.reads), writes=of(step.writes)) for step in steps]

    def _add(
        self, name: str, reads: dict[int, int], writes: dict[int, int], func: Any, args: Any,
        kwargs: Any, result: Any,
    ) -> None:  # fmt: skip
        count = flop_registry.get(func) or flop_registry.get(func._overloadpacket)
        flops = int(count(*args, **kwargs, out_val=result)) if count else 0
        first = next(iter(_tensors(args)), None)
        dtype = torch.float32 if first is None else first.dtype
        self.steps.append(Step(name=name, reads=reads, writes=writes, flops=flops, dtype=dtype))

    def _number(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage not in self._numbers:
            self._numbers[storage] = self._next
            self._next += 1
        return self._numbers[storage]


def predict(steps: list[Step], device: Device, *, compiled: bool, fp8: bool = False) -> Prediction:
    """How long these steps take one after another.

    - `fp8`: let 16-bit products of matrices (not attention, not convolutions) take FP8's rate.
    """
    kernels = fused(steps) if compiled else steps
    by_step: dict[str, float] = {}
    for step in kernels:
        moved = (sum(step.reads.values()) + sum(step.writes.values())) / device.bytes_per_second
        computed = step.flops / _rate(step, device, fp8)
        spent = max(moved / STREAMED, computed) + LAUNCH[compiled]
        by_step[step.name] = by_step.get(step.name, 0.0) + spent
    return Prediction(
        seconds=sum(by_step.values()),
        by_step=dict(sorted(by_step.items(), key=lambda item: -item[1])),
        flops=sum(s.flops for s in kernels),
        bytes=sum(sum(s.reads.values()) + sum(s.writes.values()) for s in kernels),
        launches=len(kernels),
        compiled=compiled,
    )


def fused(steps: list[Step]) -> list[Step]:
    """Join neighbors that a compiler joins."""
    last_read = {number: i for i, step in enumerate(steps) for number in step.reads}
    found: list[Step] = []
    group = _Group()
    for i, step in enumerate(steps):
        if step.alone:
            found += group.closed(i, last_read)
            found.append(step)
            group = _Group()
        else:
            group.add(step)
    return found + group.closed(len(steps), last_read)


@dataclass
class _Group:
    """Steps that become one kernel."""

    reads: dict[int, int] = field(default_factory=dict)
    writes: dict[int, int] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        self.reads |= {n: size for n, size in step.reads.items() if n not in self.writes}
        self.writes |= step.writes

    def closed(self, end: int, last_read: Mapping[int, int]) -> list[Step]:
        """The kernel, which writes what is read at `end` or later."""
        kept = {n: size for n, size in self.writes.items() if last_read.get(n, -1) >= end}
        if not self.reads and not kept:
            return []
        return [Step(name="joined", reads=self.reads, writes=kept)]


def _rate(step: Step, device: Device, fp8: bool) -> float:
    if step.dtype.itemsize > 2:
        return device.fp32
    matrices = any(word in step.name for word in ("mm", "linear"))
    peak = device.fp8 if fp8 and matrices and device.fp8 else device.bf16
    return REACHED * peak


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _shape(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf


def _size(tensor: Tensor) -> int:
    """Bytes that are read of it: an expanded axis only once."""
    seen = [size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step]
    return int(torch.Size(seen).numel()) * tensor.element_size()
