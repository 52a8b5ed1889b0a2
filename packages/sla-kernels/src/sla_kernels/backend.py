"""What runs an attention call: a decision made in one place, and said aloud by `explain`."""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, TypeVar
from warnings import warn

import torch
from torch import Tensor

from sla_kernels.runtime.checks import check_choice
from sla_kernels.runtime.passes import passes_for
from sla_kernels.runtime.tiles import architecture_of
from sla_kernels.select.selection import BlockSelection
from sla_kernels.summary.selection import SummarySelection

Selection = BlockSelection | SummarySelection
_F = TypeVar("_F", bound=Callable[..., Any])

BACKENDS = ("auto", "reference", "eager", "flex", "triton", "dense")
REACHED = ("cuda", "meta")  # what meta predicts is a GPU
TRITON_WIDTHS = (32, 64, 96, 128)
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
CROSSOVER = {
    "cpu": (0.7, 0.4)
}  # by benchmarks/bench.py, see sla-crossover-cpu.json; no GPU is measured


def _constant_where_traced(function: _F) -> _F:
    """What `torch.compiler.assume_constant_result` does, without importing the compiler (1 s)."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


class Runs(NamedTuple):
    """What runs a call: its sparse branch, its linear branch if it has one, and why."""

    sparse: str
    linear: str
    why: str


def resolve(
    backend: str,
    q: Tensor,
    selection: Selection,
    *,
    lse: bool = False,
    linear: bool = False,
) -> Runs:
    """Return the backend that runs and why; "auto" never changes a value, only who computes it.

    "auto" is dense attention where the selection is known to keep every block, so that dense
    attention computes the same; else the backend of the device. It reads no list to find out.

    - `lse`: whether the log-sum-exp is asked for; `linear`: whether there is a linear branch, which
      the device's own backend runs where that of the sparse one knows none.

    Raises ValueError where the backend asked for cannot run on these tensors.
    """
    check_choice("backend", backend, BACKENDS)
    obstacle = _obstacle_to_dense(selection, lse)
    name, why = backend, "asked for"
    if backend == "auto":
        dense = "dense", "every key block is kept, which is dense attention"
        name, why = own(q) if obstacle else dense
    _check_asked(backend, q, selection, obstacle, lse)
    beside = own(q)[0] if linear and name in ("flex", "dense") else name
    if "triton" in (name, beside):
        _check_triton(q)
    if name == "triton":
        _check_rows(selection)
    return Runs(name, beside, why)


def _check_asked(
    backend: str, q: Tensor, selection: Selection, obstacle: str | None, lse: bool
) -> None:
    """Refuse a backend that was asked for and cannot compute this at all."""
    if backend == "flex" and isinstance(selection, SummarySelection):
        raise ValueError(
            "backend='flex' with order='content' or a summary; it knows blocks in sequence alone: "
            "pass backend='eager'"
        )
    elif backend == "flex" and lse:
        raise ValueError(
            "backend='flex' with return_lse=True; it returns no log-sum-exp: pass backend='eager'"
        )
    elif backend == "flex" and q.device.type != "cpu":
        raise ValueError(
            f"backend='flex' with q on {q.device}; it runs on the CPU: "
            "pass backend='triton', 'eager' or 'reference'"
        )
    elif backend == "dense" and obstacle:
        raise ValueError(
            f"backend='dense' is asked for, but {obstacle}; it must compute the same: "
            "pass backend='auto'"
        )


def _obstacle_to_dense(selection: Selection, lse: bool) -> str | None:
    """Why dense attention would not compute the same."""
    if not selection.keeps_all:
        return "the selection is not known to keep every key block, as keep=1.0 does"
    if lse:
        return "dense attention returns no log-sum-exp"
    return None


def crossover(q: Tensor) -> tuple[float, float] | None:
    """Densities from which dense attention is faster: without gradients, and with them."""
    return CROSSOVER.get(q.device.type)


def own(q: Tensor) -> tuple[str, str]:
    """The backend of the tensors' device, and why; a GPU that Triton cannot reach is warned of."""
    if q.device.type == "cpu":
        return "eager", "the tensors are on the CPU"
    if q.device.type not in REACHED:
        return "eager", f"there are no kernels for {q.device.type}, so PyTorch's own products run"
    missing = without_triton(q.device)
    if missing is None:
        return "triton", f"the tensors are on {q.device}"
    warn(f"{missing}; PyTorch's own products run, which is slower", stacklevel=2)
    return "eager", missing


def has_kernels(device: torch.device) -> bool:
    """Whether the Triton kernels run on a device, as far as the device says."""
    return device.type in REACHED and without_triton(device) is None


@_constant_where_traced
def without_triton(device: torch.device) -> str | None:
    """Why the kernels cannot run on a GPU whatever they are given, or None.

    Compiled code asks once, while it is traced, as tracing cannot follow an import.
    """
    return _without_triton(device)


@functools.cache
def _without_triton(device: torch.device) -> str | None:
    if device.type == "meta":
        return None  # nothing is launched there
    try:
        import_module("sla_kernels.runtime.triton")
    except ImportError as error:
        return f"Triton cannot be imported ({error}; python -m pip install 'sla-kernels[triton]')"
    try:
        architecture_of(device)
    except ValueError as error:
        return str(error).partition(": pass backend")[0]
    return None


def _check_triton(q: Tensor) -> None:
    way_out = "pass backend='eager', which is slower"
    if q.shape[3] not in TRITON_WIDTHS:
        raise ValueError(
            f"q has head width {q.shape[3]}; the Triton kernels know {TRITON_WIDTHS}: {way_out}"
        )
    if q.dtype not in TRITON_DTYPES:
        known = ", ".join(map(str, TRITON_DTYPES))
        raise ValueError(f"q has dtype {q.dtype}; the Triton kernels know {known}: {way_out}")
    if missing := without_triton(q.device):
        raise ValueError(f"backend='triton' cannot run; {missing}: {way_out}")
    if q.device.type == "cpu":
        _check_interpreted(q.dtype)


@_constant_where_traced
def _check_interpreted(dtype: torch.dtype) -> None:
    import_module("sla_kernels.runtime.triton").check_interpreted(dtype)


def _check_rows(selection: Selection) -> None:
    """Refuse query blocks of listed rows that the Triton kernels cannot cut into tiles."""
    if not isinstance(selection, SummarySelection):
        return
    size = selection.block_q
    if size < 16 or size & (size - 1):
        raise ValueError(
            f"block={selection.block!r} with backend='triton'; the query block must be a power of "
            f"two of at least 16: pass block=(64, {selection.sizes[0]}), say"
        )


def tile_of(name: str, q: Tensor, selection: Selection) -> str:
    """What a backend works on at a time, in words."""
    block, listed = selection.block, isinstance(selection, SummarySelection)
    if name == "triton":
        runtime = import_module("sla_kernels.runtime.triton")
        described: str = (
            runtime.describe_rows(q, block[0]) if listed else runtime.describe(q, block)
        )
        return described
    gathered = "rows" if listed else "keys"
    return {
        "reference": "the whole score matrix",
        "eager": f"batches of query blocks of {block[0]} with their gathered {gathered}"
        + "; other passes compiled by Numba" * (listed and passes_for(q) is not None),
        "flex": f"compiled tiles of {block[0]} by {block[1]}",
        "dense": "those of PyTorch's dense attention",
    }[name]
