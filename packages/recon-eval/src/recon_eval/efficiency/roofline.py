"""Predict how long a call takes on a GPU that need not be here: by counting, nothing is measured.

The call runs on PyTorch's meta device. Every step takes the longer of two times, its bytes at the
memory's rate and its operations at that of the units that make them, and the gap before the next.
The host launches ahead of the device: what both take is the longer of their sums. A CUDA graph is
launched whole, so that nothing waits for the host.
Compiled code is predicted by joining neighboring steps that multiply nothing into one kernel, which
reads what it did not make and writes what is read after it; a compiler leaves an operator with a
body of its own as it is, step by step. Real kernels can be slower than all that, above all where
they wait for what they read.

What a kernel reads again comes from the device's cache as far as that holds the table it is read
from, and from memory for the rest: rows are taken to be picked from the whole table evenly, so that
a cache which holds a third of it serves a third of them. Small tables are held first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recon_eval.efficiency.counting import Again, Step
from recon_eval.efficiency.devices import Device

REACHED = 0.65  # of the tensor cores' peak, as the best dense kernels do; assumed
STREAMED = 0.85  # of the memory's peak, as a large copy does; assumed
HELD = 0.5  # of the cache, for what is read again; assumed: two halves may hold the same
EAGER, COMPILED = 5e-6, 2e-6  # seconds of the host for a launch; assumed
GAP = 1e-6
"""Seconds from one kernel to the next on the device, within a CUDA graph too. Assumed: twice the
half microsecond between kernels of a graph in NVIDIA's "Getting Started with CUDA Graphs", 2019."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds by the name of the step, and the sums behind them.

    - `seconds`: the longer of what the device takes and of what the host takes to launch it all.
    - `by_step`: of the device.
    """

    seconds: float
    device_seconds: float
    host_seconds: float
    by_step: Mapping[str, float]
    flops: int
    bytes: int
    launches: int
    compiled: bool
    captured: bool


def predict(
    steps: list[Step], device: Device, *, compiled: bool, fp8: bool = False, captured: bool = False,
    cached: bool = False,
) -> Prediction:  # fmt: skip
    """How long these steps take one after another.

    - `fp8`: let 16-bit products of matrices (not attention, not convolutions) take FP8's rate, and
      compiled steps whose results only they read write FP8.
    - `captured`: they are one CUDA graph, launched at once.
    - `cached`: what a kernel reads again costs nothing: a bound.
    """
    kernels = fused(steps, fp8=fp8) if compiled else steps
    by_step: dict[str, float] = {}
    for step in kernels:
        served = 0.0 if cached else _served(step.again, device)
        near = served / (REACHED * device.cache_bytes_per_second) if served else 0.0
        far = step.moved + (0 if cached else step.read_again - served)
        moved = far / (STREAMED * device.bytes_per_second)
        spent = max(moved, near, step.flops / _rate(step, device, fp8)) + GAP
        by_step[step.name] = by_step.get(step.name, 0.0) + spent
    taken = sum(by_step.values())
    launching = sum(COMPILED if compiled and not step.inside else EAGER for step in kernels)
    launching = EAGER if captured else launching
    return Prediction(
        seconds=max(taken, launching),
        device_seconds=taken,
        host_seconds=launching,
        by_step=dict(sorted(by_step.items(), key=lambda item: -item[1])),
        flops=sum(s.flops for s in kernels),
        bytes=sum(s.moved + (0 if cached else s.read_again) for s in kernels),
        launches=len(kernels),
        compiled=compiled,
        captured=captured,
    )


def _served(again: Sequence[Again], device: Device) -> float:
    """Bytes that come from the cache."""
    served, room = 0.0, HELD * device.cache_bytes
    for part in sorted(again, key=lambda part: part.table):
        held = min(room, part.table)
        served += part.bytes * held / max(part.table, 1)
        room -= held
    return served


def fused(steps: list[Step], *, fp8: bool = False) -> list[Step]:
    """Join neighbors that a compiler joins; with `fp8`, what only products read is written so."""
    last_read = {number: i for i, step in enumerate(steps) for number in step.reads}
    halved = _read_by_products_alone(steps) if fp8 else frozenset()
    found: list[Step] = []
    group = _Group()
    for i, step in enumerate(steps):
        if step.alone:
            found += group.closed(i, last_read, halved)
            found.append(step)
            group = _Group()
        else:
            group.add(step)
    return found + group.closed(len(steps), last_read, halved)


def _read_by_products_alone(steps: list[Step]) -> frozenset[int]:
    """Numbers of the 16-bit tensors that nothing but products of matrices read."""
    products = {n for s in steps if s.multiplies and s.dtype.itemsize == 2 for n in s.reads}
    others = {n for s in steps if not s.multiplies for n in s.reads}
    return frozenset(products - others)


@dataclass
class _Group:
    """Steps that become one kernel."""

    reads: dict[int, int] = field(default_factory=dict)
    writes: dict[int, int] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        self.reads |= {n: size for n, size in step.reads.items() if n not in self.writes}
        self.writes |= step.writes

    def closed(self, end: int, last_read: Mapping[int, int], halved: frozenset[int]) -> list[Step]:
        """The kernel, which writes what is read at `end` or later, some in half the bytes."""
        kept = {
            n: size // 2 if n in halved else size
            for n, size in self.writes.items()
            if last_read.get(n, -1) >= end
        }
        if not self.reads and not kept:
            return []
        return [Step(name="joined", reads=self.reads, writes=kept)]


def _rate(step: Step, device: Device, fp8: bool) -> float:
    if step.dtype.itemsize > 2:
        return device.fp32
    peak = device.fp8 if fp8 and step.multiplies and device.fp8 else device.bf16
    return REACHED * peak
