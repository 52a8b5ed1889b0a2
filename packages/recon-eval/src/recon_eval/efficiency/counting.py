"""What a call reads, writes and multiplies, on PyTorch's meta device, where nothing is run."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

ALONE = ("sort", "topk", "index", "gather", "scatter", "cumsum", "upsample", "searchsorted", "cat")
PICKS = ("index_select", "index.Tensor", "gather", "embedding")  # read what they return
PUTS = ("index_copy_", "index_add_", "index_put_", "scatter_")  # write what they are given


@dataclass(frozen=True, kw_only=True)
class Again:
    """Bytes that a kernel reads more often than once, and the size of what they are read from.

    - `table`: bytes that its programs at work share, as the keys of one head where heads come in
      turn.
    """

    bytes: int
    table: int


Formula = Callable[[Sequence[Tensor], Sequence[int]], tuple[int, tuple[Again, ...], int]]
"""Of a kernel, from its tensors and lengths: bytes moved once, what is read again beyond that, and
floating-point operations."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation: the bytes of each tensor that it reads and writes, by the tensor's number.

    - `again`: what is read again beyond these, which a cache may hold.
    - `inside`: made by the body of an operator, which no compiler joins with anything.
    """

    name: str
    reads: Mapping[int, int]
    writes: Mapping[int, int]
    flops: int = 0
    dtype: torch.dtype = torch.float32
    again: tuple[Again, ...] = ()
    inside: bool = False

    @property
    def moved(self) -> int:
        """Bytes that are moved at least once."""
        return sum(self.reads.values()) + sum(self.writes.values())

    @property
    def read_again(self) -> int:
        """Bytes beyond those."""
        return sum(part.bytes for part in self.again)

    @property
    def multiplies(self) -> bool:
        """Whether it is a product of matrices: no attention, no convolution."""
        return any(word in self.name for word in ("mm", "linear"))

    @property
    def alone(self) -> bool:
        """Whether a compiler leaves it a kernel of its own."""
        return self.inside or self.flops > 0 or any(word in self.name for word in ALONE)


class Steps(TorchDispatchMode):
    """Write down what every operation reads, writes and multiplies.

    - `bodies`: for operators that are kernels of their own, what they do in PyTorch's operations:
      these steps count in their place.
    - `launch`: an operator that stands for a kernel in such bodies; it takes the kernel's name, its
      tensors, which count as moved once, and its lengths.
    - `kernels`: by their names, what kernels do instead.
    """

    def __init__(
        self, *, bodies: Mapping[Any, Callable[..., Any]] | None = None, launch: Any = None,
        kernels: Mapping[str, Formula] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self._bodies, self._launch, self._kernels = bodies or {}, launch, kernels or {}
        self._depth = 0
        self._seen: dict[Any, tuple[list[int], list[Step]]] = {}
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._next = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func).removesuffix(".default")
        if func in self._bodies:
            return self._inside(func, args, kwargs)
        if self._launch is not None and func is self._launch:
            self._launched(*args)
            return None
        if func not in _WHOLE:
            with self:
                parts = func.decompose(*args, **kwargs)  # what autograd would have taken apart
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        given, made = _tensors((args, kwargs)), _tensors(result)
        known = {self._number(t) for t in given}
        new = [t for t in made if self._number(t) not in known]
        inplace = func._schema.is_mutable
        if (new or inplace) and "empty" not in name:  # which only finds room
            written = {self._number(t): _size(t) for t in (made if inplace else new)}
            read = {self._number(t): _size(t) for t in given}
            if any(word in name for word in PICKS):
                read[self._number(given[0])] = min(_size(given[0]), sum(map(_size, made)))
            if any(word in name for word in PUTS):
                first, source = self._number(given[0]), _size(given[-1])
                written[first] = read[first] = min(_size(given[0]), source)
            self._add(name, read, written, func, args, kwargs, result)
        return result

    def _launched(self, name: str, tensors: list[Tensor], lengths: list[int]) -> None:
        """A kernel of an operator's own."""
        moved, again, flops = self._kernels.get(name, _moved_once)(tensors, lengths)
        kinds = [x.dtype for x in tensors if x.is_floating_point()] or [torch.float32]
        narrowest = min(kinds, key=lambda kind: kind.itemsize)  # what it multiplies in
        self.steps.append(
            Step(
                name=name, reads={}, writes={-1: moved}, again=again, flops=flops,
                dtype=narrowest, inside=True,
            )
        )  # fmt: skip

    def _inside(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The steps of a body; the same shapes again are written down again, without a run."""
        key = (func, *(_shape(leaf) for leaf in tree_leaves((args, kwargs))))
        given = [self._number(t) for t in _tensors((args, kwargs))]
        if key in self._seen:
            before, steps = self._seen[key]
            self.steps += self._renumbered(steps, dict(zip(before, given, strict=True)))
            return func(*args, **kwargs)
        self._bodies[func](*args, **kwargs)  # what a first call plans is not counted
        start = len(self.steps)
        self._depth += 1
        try:
            with self:
                result = self._bodies[func](*args, **kwargs)
        finally:
            self._depth -= 1
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
        packet = func._overloadpacket
        count = _WHOLE.get(func) or flop_registry.get(func) or flop_registry.get(packet)
        flops = int(count(*args, **kwargs, out_val=result)) if count else 0
        first = next(iter(_tensors(args)), None)
        dtype = torch.float32 if first is None else first.dtype
        passes = 1
        if name.startswith("aten.sort") and writes:  # by 8 bits of the keys at a time
            passes, reads = dtype.itemsize, writes
        step = Step(
            name=name, reads=reads, writes=writes, flops=flops, dtype=dtype, inside=self._depth > 0
        )
        self.steps += [step] * passes

    def _number(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage not in self._numbers:
            self._numbers[storage] = self._next
            self._next += 1
        return self._numbers[storage]


def _moved_once(tensors: Sequence[Tensor], _: Sequence[int]) -> tuple[int, tuple[Again, ...], int]:
    """What a kernel costs of which nothing more is known."""
    return sum(map(_size, tensors)), (), 0


def _attention_flops(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))


_WHOLE = {torch.ops.aten.scaled_dot_product_attention.default: _attention_flops}
"""What a GPU has one kernel for, though it can be taken apart."""


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _shape(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf


def _size(tensor: Tensor) -> int:
    """Bytes that are read of it: an expanded axis only once."""
    seen = [size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step]
    return int(torch.Size(seen).numel()) * tensor.element_size()
